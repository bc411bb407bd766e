#include "ops/matmul_int8/matmul_int8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernel/cpu/int8_tile.h"
#include "ops/all.h"
#include "ops/quantize/quantize.h"
#include "testing/op_case.h"

namespace floe {
namespace {

struct Form {
  bool bias = false;
  std::string activation = "";
  bool tensor_scales = false;
};

OpCase case_of(Shape a, int64_t n, const Form& form = {}) {
  const int64_t k = a.back();
  Shape a_scale = a;
  a_scale.back() = 1;
  if (form.tensor_scales) a_scale = {};
  OpCase c{
      .op = "matmul_int8",
      .inputs = {CaseInput::integers(std::move(a), -127, 128, DType::i8),
                 CaseInput::uniform(a_scale, 1e-3, 0.05), CaseInput::integers({n, k}, -127, 128, DType::i8),
                 CaseInput::uniform(form.tensor_scales ? Shape{} : Shape{n, 1}, 1e-3, 0.05)},
      .attrs = {{"activation", form.activation}}};
  if (form.bias) c.inputs.push_back(CaseInput::normal({n}));
  return c;
}

Tensor product_of(const OpCase& c) { return std::move(run_kernel(c)[0]); }

TEST(MatmulInt8, IsTheProductOfWhatTheCodesStandFor) {
  FLOE_NEEDS_CPU();
  for (const int64_t n : {1, 7, 32, 101}) {
    for (const int64_t k : {1, 2, 3, 4, 5, 64, 127}) check_kernel(case_of({13, k}, n));
  }
  check_kernel(case_of({2, 3, 40}, 51));
  check_kernel(case_of({2, 3, 40}, 51, {.tensor_scales = true}));
  check_kernel(case_of({70000, 3}, 2));
}

TEST(MatmulInt8, AddsABiasAndAppliesAnActivation) {
  FLOE_NEEDS_CPU();
  for (const char* name : {"", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh"})
    check_kernel(case_of({33, 20}, 51, {.bias = true, .activation = name}));
}

TEST(MatmulInt8, HandlesSizesOfZero) {
  FLOE_NEEDS_CPU();
  check_kernel(case_of({0, 4}, 5));
  check_kernel(case_of({3, 4}, 0));
  check_kernel(case_of({3, 0}, 5, {.bias = true}));
}

TEST(MatmulInt8, IsTheSameOnEveryKindOfCpuAndForAnyThreads) {
  FLOE_NEEDS_CPU();
  OpCase c = case_of({200, 130}, 301, {.bias = true, .activation = "relu"});
  const Tensor best = product_of(c);
  for (const Int8Target target : int8_targets()) {
    force_int8_target(target);
    for (const int threads : {1, 3}) {
      c.threads = threads;
      const Tensor got = product_of(c);
      for (int64_t i = 0; i < got.size(); ++i) ASSERT_EQ(got.at(i), best.at(i)) << name_of(target);
    }
  }
  force_int8_target(int8_targets().back());
}

// With integer codes and scales of 1 the float is the sum itself.
TEST(MatmulInt8, SumsPast2To24AreRoundedOnce) {
  FLOE_NEEDS_CPU();
  const int64_t k = 4096;
  Tensor a(DType::i8, {1, k}), w(DType::i8, {1, k});
  for (int64_t i = 0; i < k; ++i) {
    a.set(i, 127);
    w.set(i, i == 0 ? 126 : 127);
  }
  OpCase c{.op = "matmul_int8",
           .inputs = {CaseInput::of(std::move(a)), CaseInput::of(Tensor::scalar(1)),
                      CaseInput::of(std::move(w)), CaseInput::of(Tensor::scalar(1))}};
  EXPECT_EQ(run_kernel(c)[0].at(0), static_cast<float>(127 * (127 * k - 1)));
}

TEST(MatmulInt8, AScaleThatIsNanOrInfiniteMakesItsRowNan) {
  FLOE_NEEDS_CPU();
  OpCase c = case_of({3, 8}, 5);
  Tensor codes(DType::i8, {3, 8});
  for (int64_t i = 16; i < 24; ++i) codes.set(i, 1);
  c.inputs[0] = CaseInput::of(std::move(codes));
  c.inputs[1] = CaseInput::of(Tensor::from_floats(
      {3, 1}, {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1}));
  const Tensor y = product_of(c);
  for (int64_t i = 0; i < 15; ++i) EXPECT_EQ(std::isnan(y.at(i)), i < 10) << i;
}

// As an int32 of scale a_scale * w_scale such a bias would be 1e34.
TEST(MatmulInt8, ABiasIsNotLostBesideTinyWeights) {
  FLOE_NEEDS_CPU();
  OpCase c = case_of({2, 8}, 3, {.bias = true});
  c.inputs[1] = CaseInput::of(Tensor::scalar(1e-4f));
  c.inputs[3] = CaseInput::of(Tensor::scalar(1e-30f));
  c.inputs[4] = CaseInput::of(Tensor::from_floats({3}, {1, -2, 0}));
  const Tensor y = product_of(c);
  for (int64_t row = 0; row < 2; ++row) {
    EXPECT_EQ(y.at(row * 3), 1);
    EXPECT_EQ(y.at(row * 3 + 1), -2);
    EXPECT_LT(std::fabs(y.at(row * 3 + 2)), 1e-28);
  }
}

std::string refusal(std::vector<Type> types) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  Values inputs;
  for (size_t i = 0; i < types.size(); ++i) inputs.push_back(b.input("x" + std::to_string(i), types[i]));
  try {
    b.add_all("matmul_int8", inputs);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(MatmulInt8, RefusesWhatItCannotTake) {
  const Type scale{DType::f32, {}};
  const auto codes = [](int64_t rows, int64_t n) { return Type{DType::i8, {Dim(rows), Dim(n)}}; };
  EXPECT_EQ(refusal({{DType::f32, {Dim(2), Dim(3)}}, scale, codes(4, 3), scale}),
            "[matmul_int8] a must be i8[..., k] and w i8[n, k], got f32[2, 3] and i8[4, 3]");
  EXPECT_EQ(refusal({codes(2, 3), scale, codes(4, 5), scale}),
            "[matmul_int8] inner dims differ: a i8[2, 3], w i8[4, 5]");
  EXPECT_EQ(refusal({codes(2, 200000), scale, codes(4, 200000), scale}),
            "[matmul_int8] a depth of 200000 may overflow; 131071 is the most");
  EXPECT_EQ(refusal({codes(2, 3), {DType::f32, {Dim(2)}}, codes(4, 3), scale}),
            "[matmul_int8] a's scale must be f32[] or f32[..., 1] with a's dims: a i8[2, 3], scale f32[2]");
  EXPECT_EQ(refusal({codes(2, 3), scale, codes(4, 3), {DType::f32, {Dim(4)}}}),
            "[matmul_int8] w's scale must be f32[] or f32[4, 1], got f32[4]");
  EXPECT_EQ(refusal({codes(2, 3), scale, codes(4, 3), scale, {DType::f32, {Dim(3)}}}),
            "[matmul_int8] bias must be f32[4], got f32[3]");
}

}  // namespace
}  // namespace floe
