// What only the GPU's kernel has: bf16 gradients, sizes past its grid, new state over the old.
#include <gtest/gtest.h>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

OpCase case_of(const Shape& shape, DType grad, float skip) {
  return {"adamw",
          {CaseInput::normal(shape), CaseInput::normal(shape, grad), CaseInput::normal(shape),
           CaseInput::uniform(shape, 0.01, 1), CaseInput::of(Tensor::scalar(0.03f)),
           CaseInput::of(Tensor::from_ints({}, {7})), CaseInput::of(Tensor::scalar(0.5f)),
           CaseInput::of(Tensor::scalar(skip))},
          {{"beta1", 0.9}, {"beta2", 0.98}, {"eps", 1e-8}, {"weight_decay", 0.1}}};
}

TEST(AdamWCuda, TakesNarrowGradients) {
  FLOE_NEEDS_CUDA();
  for (const int64_t n : {1, 3, 4, 1023, 4097}) check_kernel(case_of({n}, DType::bf16, 0));
}

TEST(AdamWCuda, WalksPastItsGrid) {
  FLOE_NEEDS_CUDA();
  check_kernel(case_of({1300, 1001}, DType::f32, 0));
  check_kernel(case_of({1300, 1001}, DType::bf16, 0));
}

TEST(AdamWCuda, SkipCopiesTheOldState) {
  FLOE_NEEDS_CUDA();
  OpCase c = case_of({1001}, DType::bf16, 1);
  c.ulps = 0;
  check_kernel(c);
}

}  // namespace
}  // namespace floe
