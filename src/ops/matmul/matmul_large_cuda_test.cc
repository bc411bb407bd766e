// More than 2^31 elements of a product, and of what it reads.
#include <gtest/gtest.h>

#include "testing/large_case.h"

namespace floe {
namespace {

LargeCase product(int64_t k, int64_t n, DType dtype, double ulps) {
  OpCase one{"matmul",
             {CaseInput::normal({1013, k}, dtype), CaseInput::normal({n, k}, dtype)},
             {{"activation", std::string()}, {"transpose_a", false}, {"transpose_b", true}},
             ulps};
  return {.one = std::move(one), .times = 540, .repeated = 1};
}

TEST(MatmulLarge, WritesMoreThan31BitsCount) {
  FLOE_NEEDS_CUDA();
  check_large(product(8, 4099, DType::f32, 0));  // a row has the same bits in any number of them
}

TEST(MatmulLarge, ReadsMoreThan31BitsCount) {
  FLOE_NEEDS_CUDA();
  check_large(product(4099, 8, DType::f32, 0));
}

TEST(MatmulLarge, WritesMoreThan31BitsCountInBf16) {
  FLOE_NEEDS_CUDA();
  check_large(product(64, 4104, DType::bf16, 2));  // rounded once from f32 sums in another order
}

}  // namespace
}  // namespace floe
