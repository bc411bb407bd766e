#include "ops/dropout/dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "ops/all.h"
#include "tensor/philox.h"
#include "testing/op_case.h"

namespace floe {
namespace {

RefTensor uniform_of(int32_t seed, const std::vector<int32_t>& ordinals, const Shape& shape,
                     int64_t op_id = 3) {
  Dims dims;
  for (const int64_t d : shape) dims.emplace_back(d);
  const auto rows = static_cast<int64_t>(ordinals.size());
  return reference(
      {"uniform",
       {CaseInput::of(Tensor::from_ints({}, {seed})), CaseInput::of(Tensor::from_ints({rows}, ordinals))},
       {{"dims", dims}, {"op_id", op_id}}})[0];
}

OpCase dropout_case(Shape shape, double p) {
  const int64_t rows = shape[0];
  OpCase c{"dropout",
           {CaseInput::normal(std::move(shape)), CaseInput::integers({}, 0, 1 << 20),
            CaseInput::integers({rows}, 0, 1 << 20)},
           {{"p", p}, {"op_id", int64_t{7}}}};
  return c;
}

TEST(Uniform, IsPhiloxOfTheCoordinates) {
  const RefTensor u = uniform_of(11, {5, 900}, {2, 3, 2, 6});
  const PhiloxCoordinates at{.feature = 5, .position = 1, .ordinal = 900, .head = 2};
  EXPECT_EQ(u.f[((1 * 3 + 2) * 2 + 1) * 6 + 5], philox_uniform(philox_bits(11, 3, at)));
}

TEST(Uniform, DoesNotDependOnPadding) {
  const RefTensor small = uniform_of(1, {4, 9}, {2, 3, 5});
  const RefTensor padded = uniform_of(1, {4, 9}, {2, 8, 5});
  for (size_t b = 0; b < 2; ++b) {
    for (size_t k = 0; k < 15; ++k) EXPECT_EQ(small.f[b * 15 + k], padded.f[b * 40 + k]);
  }
}

TEST(Uniform, DoesNotDependOnHowTheBatchIsSplit) {
  const RefTensor whole = uniform_of(1, {0, 1, 2, 3}, {4, 2, 5});
  const RefTensor half = uniform_of(1, {2, 3}, {2, 2, 5});
  EXPECT_EQ(std::vector<double>(whole.f.begin() + 20, whole.f.end()), half.f);
}

TEST(Uniform, ChangesWithSeedAndOpId) {
  EXPECT_NE(uniform_of(1, {0}, {1, 8}).f, uniform_of(2, {0}, {1, 8}).f);
  EXPECT_NE(uniform_of(1, {0}, {1, 8}, 3).f, uniform_of(1, {0}, {1, 8}, 4).f);
}

TEST(Uniform, HasTheMeanAndVarianceOfItsName) {
  const RefTensor u = uniform_of(42, {0, 1, 2, 3}, {4, 100, 50});
  double sum = 0, square = 0;
  for (const double x : u.f) {
    sum += x;
    square += (x - 0.5) * (x - 0.5);
  }
  const double n = static_cast<double>(u.f.size());
  // Five standard deviations of a mean of n uniform numbers, and of their squared distances.
  EXPECT_NEAR(sum / n, 0.5, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(square / n, 1.0 / 12, 5 * std::sqrt(1.0 / 180 / n));
}

TEST(Dropout, KeepsScalesAndDrops) {
  const OpCase c = dropout_case({3, 4, 50}, 0.3);
  const RefTensor x = case_inputs(c)[0];
  const RefTensor y = reference(c)[0];
  int kept = 0;
  for (size_t i = 0; i < x.f.size(); ++i) {
    if (y.f[i] == 0) continue;
    ++kept;
    EXPECT_NEAR(y.f[i], x.f[i] / 0.7, 1e-7 * std::fabs(x.f[i]));
  }
  EXPECT_NEAR(kept, 420, 5 * std::sqrt(600 * 0.3 * 0.7));
}

TEST(Dropout, DropsNanToo) {
  OpCase c = dropout_case({1, 64}, 0.5);
  Tensor nan(DType::f32, {1, 64});
  for (int64_t i = 0; i < 64; ++i) nan.set(i, NAN);
  c.inputs[0] = CaseInput::of(std::move(nan));
  int zeros = 0;
  const std::vector<RefTensor> results = reference(c);
  for (const double y : results[0].f) zeros += y == 0;
  EXPECT_GT(zeros, 10);
  EXPECT_LT(zeros, 54);
}

TEST(Dropout, GradientUsesTheSameMask) {
  for (const Shape& shape : {Shape{2, 7}, Shape{3, 1, 5}, Shape{2, 3, 4, 5}, Shape{2, 0, 3}}) {
    check_gradient(dropout_case(shape, 0.4));
  }
}

TEST(Dropout, OfProbabilityZeroBuildsNothing) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {2, 3}});
  const Value seed = b.input("seed", {DType::i32, {}});
  const Value ordinals = b.input("ordinals", {DType::i32, {2}});
  const int64_t id = b.next_op_id();
  EXPECT_EQ(dropout(b, x, seed, ordinals, 0), x);
  EXPECT_EQ(b.next_op_id(), id + 1);
}

std::string refusal(Type x, Type seed, Type ordinals, double p) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  try {
    dropout(b, b.input("x", std::move(x)), b.input("seed", std::move(seed)),
            b.input("ordinals", std::move(ordinals)), p);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Dropout, RefusesWhatHasNoCoordinates) {
  const Type x{DType::f32, {2, 3}};
  const Type seed{DType::i32, {}};
  const Type ordinals{DType::i32, {2}};
  EXPECT_EQ(refusal(x, seed, ordinals, 0.5), "");
  EXPECT_EQ(refusal(x, seed, ordinals, 1), "[dropout] p must be in 0 <= p < 1, got 1");
  EXPECT_EQ(refusal({DType::i32, {2, 3}}, seed, ordinals, 0.5),
            "[dropout] input 0 must be floating, got i32[2, 3]");
  EXPECT_EQ(refusal({DType::f32, {2}}, seed, ordinals, 0.5),
            "[dropout] coordinates are [B, feature], [B, position, feature] or [B, head, position, feature], "
            "got [2]");
  EXPECT_EQ(refusal(x, {DType::f32, {}}, ordinals, 0.5), "[dropout] the seed must be i32[], got f32[]");
  EXPECT_EQ(refusal(x, seed, {DType::i32, {2, 1}}, 0.5),
            "[dropout] the ordinals must be i32[B], got i32[2, 1]");
  EXPECT_EQ(refusal(x, seed, {DType::i32, {3}}, 0.5), "[dropout] 3 ordinals for 2 rows");
}

}  // namespace
}  // namespace floe
