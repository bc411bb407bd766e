#include "ops/rms_norm/rms_norm.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "testing/op_case.h"

namespace floe {
namespace {

OpCase forward(const Shape& shape, double eps = 1e-6) {
  return {"rms_norm", {CaseInput::normal(shape), CaseInput::normal({shape.back()})}, {{"eps", eps}}};
}
OpCase backward(const Shape& shape, double eps = 1e-2) {
  return {"rms_norm_grad",
          {CaseInput::normal(shape), CaseInput::normal({shape.back()}), CaseInput::normal(shape)},
          {{"eps", eps}}};
}

TEST(RmsNorm, HasTheReferencesValuesAtOddSizes) {
  for (const Shape& shape : {Shape{0, 5}, {4, 1}, {3, 2, 7}, {5, 64}, {2, 257}, {1031, 33}, {66000, 2}}) {
    SCOPED_TRACE(text_of(shape));
    check_kernel(forward(shape));
    OpCase grad = backward(shape);
    // One rounding for each row of dgamma's sum: see layer_norm_test.cc.
    grad.ulps = shape[0] > 60000 ? 1100 : 64;
    check_kernel(grad);
  }
}

TEST(RmsNorm, PassesNanToItsRowOnly) {
  OpCase c = forward({2, 5});
  c.inputs[0] = CaseInput::of(
      Tensor::from_floats({2, 5}, {1, 2, std::numeric_limits<float>::quiet_NaN(), 4, 5, 1, 2, 3, 4, 5}));
  check_kernel(c);
}

// d and eps are powers of two: the meaning's constants are f32, and these round to themselves.
TEST(RmsNorm, MeansWhatItComputes) {
  check_meaning(forward({3, 2, 8}, 0x1p-10));
  check_meaning(backward({3, 2, 8}, 0x1p-10));
}

TEST(RmsNorm, HasTheRightGradient) {
  check_gradient(forward({3, 2, 7}));
  check_gradient(backward({4, 5}));
}

TEST(RmsNorm, GivesARowTheSameBitsWhateverLiesBesideIt) {
  const OpCase many = forward({65, 37});
  const std::vector<Tensor> all = run_kernel(many);
  const std::vector<RefTensor> inputs = case_inputs(many);
  Tensor last(DType::f32, {1, 37});
  std::memcpy(last.data(), tensor_of(inputs[0]).as<float>() + 64 * 37, last.bytes());
  OpCase single = forward({1, 37});
  single.inputs = {CaseInput::of(std::move(last)), CaseInput::of(tensor_of(inputs[1]))};
  const std::vector<Tensor> one = run_kernel(single);
  EXPECT_EQ(std::memcmp(one[0].data(), all[0].as<float>() + 64 * 37, one[0].bytes()), 0);
}

}  // namespace
}  // namespace floe
