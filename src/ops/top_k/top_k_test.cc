#include "ops/top_k/top_k.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<Tensor> top_of(const std::vector<float>& row, int64_t k) {
  const auto n = static_cast<int64_t>(row.size());
  return run_kernel({"top_k", {CaseInput::of(Tensor::from_floats({1, n}, row))}, {{"k", k}}});
}

std::vector<double> list(const Tensor& t) {
  std::vector<double> values;
  for (int64_t i = 0; i < t.size(); ++i) values.push_back(t.at(i));
  return values;
}

TEST(TopK, MatchesASortOverManySizes) {
  for (const Shape& shape :
       std::vector<Shape>{{1, 1}, {3, 7}, {5, 16}, {2, 17}, {2, 3, 97}, {4, 1009}, {0, 5}}) {
    for (const int64_t k : {1, 2, 7, 31}) {
      check_kernel({"top_k", {CaseInput::normal(shape)}, {{"k", k}}, 0});
    }
  }
}

TEST(TopK, MatchesASortWithManyTies) {
  std::vector<float> values;
  for (int i = 0; i < 3 * 131; ++i) values.push_back(static_cast<float>(i * 7 % 5));
  check_kernel({"top_k", {CaseInput::of(Tensor::from_floats({3, 131}, values))}, {{"k", int64_t{40}}}, 0});
}

TEST(TopK, TakesTheLowerIndexOfEqualValues) {
  const auto out = top_of({1, 3, 2, 3, 3, 0}, 4);
  EXPECT_THAT(list(out[0]), testing::ElementsAre(3, 3, 3, 2));
  EXPECT_THAT(list(out[1]), testing::ElementsAre(1, 3, 4, 2));
}

TEST(TopK, NeverChoosesNaNOverANumber) {
  const auto out = top_of({kNaN, -kInf, kNaN, 5, kInf}, 4);
  EXPECT_THAT(list(out[0]), testing::ElementsAre(kInf, 5, -kInf, -kInf));
  EXPECT_THAT(list(out[1]), testing::ElementsAre(4, 3, 1, -1));
}

TEST(TopK, FillsWhatARowDoesNotHave) {
  const auto none = run_kernel({"top_k", {CaseInput::normal({2, 0})}, {{"k", int64_t{2}}}});
  EXPECT_THAT(list(none[1]), testing::ElementsAre(-1, -1, -1, -1));
  EXPECT_THAT(list(none[0]), testing::ElementsAre(-kInf, -kInf, -kInf, -kInf));
}

TEST(TopK, HandlesMoreRowsThanSixteenBits) {
  check_kernel({"top_k", {CaseInput::normal({70000, 3})}, {{"k", int64_t{2}}}, 0});
}

TEST(TopK, RefusesKBelowOne) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {Dim(2), Dim(3)}});
  try {
    top_k(b, x, 0);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("[top_k] k must be at least 1, got 0"));
  }
}

}  // namespace
}  // namespace floe
