#include "ops/layer_norm/layer_norm.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

OpCase forward(const Shape& shape, double eps = 1e-5) {
  const Shape d{shape.back()};
  return {
      "layer_norm", {CaseInput::normal(shape), CaseInput::normal(d), CaseInput::normal(d)}, {{"eps", eps}}};
}
OpCase backward(const Shape& shape, double eps = 1e-5) {
  return {"layer_norm_grad",
          {CaseInput::normal(shape), CaseInput::normal({shape.back()}), CaseInput::normal(shape)},
          {{"eps", eps}}};
}

// At d = 1 the row is constant, and everything it gives is what rounding makes of 0 * rstd: eps = 1 keeps
// rstd small.
TEST(LayerNorm, HasTheReferencesValuesAtOddSizes) {
  for (const Shape& shape : {Shape{0, 5}, {3, 2, 7}, {5, 64}, {2, 257}, {3, 512}, {1031, 33}}) {
    SCOPED_TRACE(text_of(shape));
    check_kernel(forward(shape));
    check_kernel(backward(shape));
  }
  check_kernel(forward({4, 1}, 1));
  check_kernel(backward({4, 1}, 1));
}

TEST(LayerNorm, TakesManyRows) {
  check_kernel(forward({66000, 5}));
  OpCase grad = backward({66000, 5});
  // dgamma sums 66000 rows one after the other within a block of 1032 and then 64 blocks: rounding grows at
  // most with their number, here 1032 + 64 half units of sums about as large as the result.
  grad.ulps = 1100;
  check_kernel(grad);
}

TEST(LayerNorm, KeepsItsPrecisionFarFromZero) {
  // Mean 1e4, deviation 1: the row's own rounding is 1e4 * 2^-24 = 6e-4 of a deviation; a mean of squares
  // would lose all digits. 16 units of 1e4 bound it.
  OpCase c = forward({8, 100});
  Tensor x(DType::f32, {8, 100});
  for (int64_t i = 0; i < x.size(); ++i) x.set(i, 1e4 + static_cast<double>(i % 7));
  c.inputs[0] = CaseInput::of(std::move(x));
  c.ulps = 16e4;
  check_kernel(c);
}

TEST(LayerNorm, PassesNanAndInfinityToTheirRowsOnly) {
  OpCase c = forward({3, 20});
  Tensor x(DType::f32, {3, 20});
  for (int64_t i = 0; i < x.size(); ++i) x.set(i, static_cast<double>(i * i % 11));
  x.set(3, std::numeric_limits<double>::quiet_NaN());
  x.set(45, std::numeric_limits<double>::infinity());
  c.inputs[0] = CaseInput::of(std::move(x));
  check_kernel(c);
}

// d and eps are powers of two: the meaning's constants are f32, and these round to themselves.
TEST(LayerNorm, MeansWhatItComputes) {
  check_meaning(forward({3, 2, 8}, 0x1p-10));
  check_meaning(backward({3, 2, 8}, 0x1p-10));
}

TEST(LayerNorm, HasTheRightGradient) {
  check_gradient(forward({3, 2, 7}));
  check_gradient(backward({4, 5}));
}

TEST(LayerNorm, DoesNotDependOnThreads) {
  for (OpCase c : {forward({300, 96}), backward({300, 96})}) {
    c.threads = 1;
    const std::vector<Tensor> one = run_kernel(c);
    c.threads = 3;
    const std::vector<Tensor> three = run_kernel(c);
    for (size_t k = 0; k < one.size(); ++k) {
      EXPECT_EQ(std::memcmp(one[k].data(), three[k].data(), one[k].bytes()), 0) << c.op << " result " << k;
    }
  }
}

TEST(LayerNorm, RefusesWrongTypes) {
  Graph graph(all_ops(), "refusals");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {Dim(2), Dim(4)}});
  const Value d3 = b.input("d3", {DType::f32, {Dim(3)}});
  const Value d4 = b.input("d4", {DType::f32, {Dim(4)}});
  const auto message = [&](Value gamma, double eps) {
    try {
      layer_norm(b, x, gamma, d4, eps);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message(d3, 1e-5), "[layer_norm] gamma must be [4], got f32[3]");
  EXPECT_EQ(message(d4, -1), "[layer_norm] eps must be 0 or above, got -1");
}

}  // namespace
}  // namespace floe
