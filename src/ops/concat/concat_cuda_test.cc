// What only the GPU's copies have: parts whose places and lengths allow words of different widths.
#include <gtest/gtest.h>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

TEST(ConcatCuda, JoinsPartsAtEveryAlignment) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::i8, DType::bf16, DType::f32, DType::i64}) {
    for (const int64_t first : {0, 1, 2, 4, 8, 16, 33}) {
      SCOPED_TRACE(first);
      for (const int64_t second : {1, 16, 48}) {
        OpCase c{"concat",
                 {CaseInput::integers({5, 7, first}, -100, 100, dtype),
                  CaseInput::integers({5, 7, second}, -100, 100, dtype)},
                 {{"axis", int64_t{2}}}};
        c.ulps = 0;
        check_kernel(c);
      }
    }
  }
}

}  // namespace
}  // namespace floe
