// What only the GPU's kernels have: 2-byte types at each way of cutting a row.
#include <gtest/gtest.h>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

TEST(SoftmaxCuda, TakesRowsOfEveryLength) {
  FLOE_NEEDS_CUDA();
  for (const char* op : {"softmax", "log_softmax"}) {
    for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
      for (const int64_t n : {1, 8, 9, 256, 257, 512, 1024, 1028, 2048, 4096, 4104, 8192, 65536}) {
        SCOPED_TRACE(n);
        OpCase c{op, {CaseInput::normal({3, n}, dtype)}};
        // One rounding from f32. Probabilities of long rows are subnormal in f16, in steps of 2^-24.
        if (dtype != DType::f32) c.ulps = 2;
        if (dtype == DType::f16 && n > 4104) continue;
        check_kernel(c);
      }
    }
  }
}

TEST(SoftmaxCuda, TakesManyRows) {
  FLOE_NEEDS_CUDA();
  OpCase c{"softmax", {CaseInput::normal({300001, 8}, DType::bf16)}};
  c.ulps = 2;
  check_kernel(c);
}

}  // namespace
}  // namespace floe
