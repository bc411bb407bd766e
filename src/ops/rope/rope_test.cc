#include "ops/rope/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

OpCase make(const Shape& shape, bool interleaved, bool inverse) {
  return {"rope",
          {CaseInput::normal(shape), CaseInput::integers({shape[0], shape[1]}, 0, 5000)},
          {{"base", 10000.0}, {"interleaved", interleaved}, {"inverse", inverse}}};
}

TEST(Rope, HasTheReferencesValues) {
  for (const Shape& shape : {Shape{0, 3, 2, 4}, {2, 0, 2, 4}, {1, 1, 1, 2}, {2, 5, 3, 6}, {3, 33, 4, 64}}) {
    for (const bool interleaved : {false, true}) check_kernel(make(shape, interleaved, false));
  }
}

TEST(Rope, HasTheRightGradient) {
  check_gradient(make({2, 3, 2, 6}, false, false));
  check_gradient(make({2, 3, 2, 6}, true, true));
}

TEST(Rope, ScoresDependOnTheDistanceAlone) {
  // q at position 7 against k at 3 must score as q at 104 against k at 100.
  const auto turned = [](int32_t position) {
    OpCase c = make({1, 1, 1, 8}, false, false);
    c.inputs[1] = CaseInput::of(Tensor::from_ints({1, 1}, {position}));
    std::vector<Tensor> y = run_kernel(c);
    return std::move(y[0]);
  };
  const auto score = [&](int32_t i, int32_t j) {
    const Tensor q = turned(i), k = turned(j);
    double sum = 0;
    for (int f = 0; f < 8; ++f) sum += q.at(f) * k.at(f);
    return sum;
  };
  EXPECT_NEAR(score(7, 3), score(104, 100), 1e-5 * std::fabs(score(7, 7)));
}

TEST(Rope, RefusesAnOddHeadSize) {
  Graph graph(all_ops(), "refusals");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {Dim(1), Dim(1), Dim(1), Dim(3)}});
  const Value positions = b.input("p", {DType::i32, {Dim(1), Dim(1)}});
  try {
    rope(b, x, positions);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[rope] the last dim of x must be an even number, got f32[1, 1, 1, 3]");
  }
}

}  // namespace
}  // namespace floe
