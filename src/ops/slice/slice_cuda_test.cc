// What only the GPU's copies have: places and lengths that allow words of different widths.
#include <gtest/gtest.h>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

TEST(SliceCuda, CutsAtEveryAlignment) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::i8, DType::bf16, DType::f32, DType::i64}) {
    for (const int64_t begin : {0, 1, 2, 4, 8, 16}) {
      for (const int64_t length : {0, 1, 6, 16, 47}) {
        SCOPED_TRACE(begin * 100 + length);
        OpCase c{"slice",
                 {CaseInput::integers({9, 64}, -100, 100, dtype)},
                 {{"axis", int64_t{1}}, {"begin", Dims{begin}}, {"length", Dims{length}}}};
        c.ulps = 0;
        check_kernel(c);
      }
    }
  }
}

}  // namespace
}  // namespace floe
