// What only the GPU's copies have: every element size, words of every width, tiles with ragged edges.
#include <gtest/gtest.h>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

void check(const Shape& shape, const std::vector<int64_t>& perm) {
  SCOPED_TRACE(text_of(shape));
  for (const DType dtype : {DType::i8, DType::bf16, DType::f32, DType::i64}) {
    OpCase c{"transpose", {CaseInput::integers(shape, -100, 100, dtype)}, {{"perm", perm}}};
    c.ulps = 0;
    check_kernel(c);
  }
}

TEST(TransposeCuda, SwapsHeadsAndPositions) {
  FLOE_NEEDS_CUDA();
  for (const int64_t width : {1, 2, 3, 8, 16, 20, 64}) check({3, 37, 4, width}, {0, 2, 1, 3});
  check({2, 300, 8, 64}, {0, 2, 1, 3});
}

TEST(TransposeCuda, SwapsTheLastTwo) {
  FLOE_NEEDS_CUDA();
  for (const Shape& shape : {Shape{31, 33}, {32, 32}, {64, 1000}, {2, 100000}, {100000, 2}})
    check(shape, {1, 0});
  check({5, 70, 3, 45}, {0, 1, 3, 2});
  check({5, 70, 3, 45}, {3, 1, 0, 2});
  check({2100, 33, 33}, {0, 2, 1});  // more tiles than 65,535 in no one dim, many in all
}

TEST(TransposeCuda, TakesAnyPermutation) {
  FLOE_NEEDS_CUDA();
  check({2, 3, 4, 5, 6, 7}, {5, 3, 1, 0, 2, 4});
  check({2, 3, 4, 5, 6, 8}, {4, 3, 0, 2, 1, 5});
  check({7, 6, 5}, {1, 2, 0});
}

}  // namespace
}  // namespace floe
