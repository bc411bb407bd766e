// What only the GPU's kernels have: bf16 rows, with weights of either type, at each way of cutting a row.
#include <gtest/gtest.h>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

TEST(RmsNormCuda, TakesBf16RowsOfEveryLength) {
  FLOE_NEEDS_CUDA();
  for (const int64_t d : {1, 7, 256, 300, 512, 1000, 1024, 2048, 4096, 4104}) {
    for (const DType weight : {DType::bf16, DType::f32}) {
      SCOPED_TRACE(d);
      OpCase c{"rms_norm",
               {CaseInput::normal({9, d}, DType::bf16), CaseInput::normal({d}, weight)},
               {{"eps", 1e-6}}};
      c.ulps = 2;  // one rounding from f32
      check_kernel(c);
    }
  }
}

TEST(RmsNormCuda, HasTheGradientOfManyRows) {
  FLOE_NEEDS_CUDA();
  for (const Shape& shape : {Shape{2, 8}, {3001, 512}, {40, 1024}, {100, 37}, {33, 5000}}) {
    SCOPED_TRACE(text_of(shape));
    const OpCase c{"rms_norm_grad",
                   {CaseInput::normal(shape, DType::bf16), CaseInput::normal({shape.back()}),
                    CaseInput::normal(shape, DType::bf16)},
                   {{"eps", 1e-3}}};
    const std::vector<Tensor> got = run_kernel(c);
    const std::vector<RefTensor> want = reference(c);
    ASSERT_EQ(got.size(), 2u);
    expect_close(got[0], want[0], 2, "dx");
    expect_close(got[1], want[1], 32, "dgamma");
  }
}

}  // namespace
}  // namespace floe
