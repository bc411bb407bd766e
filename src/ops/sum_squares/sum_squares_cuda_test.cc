// What only the GPU's kernel has: 2-byte inputs and the limits of its blocks.
#include <gtest/gtest.h>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

TEST(SumSquaresCuda, AddsAcrossBlocksOfEveryType) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const int64_t n : {1, 7, 9, 4095, 32767, 32768, 32769, 65543, 3000001}) {
      SCOPED_TRACE(n);
      check_kernel({.op = "sum_squares", .inputs = {CaseInput::normal({n}, dtype)}});
    }
  }
}

}  // namespace
}  // namespace floe
