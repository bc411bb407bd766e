// What the GPU's kernel has of its own: several parts a row, several rounds a part, half types.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "testing/op_case.h"

namespace floe {
namespace {

OpCase top_case(CaseInput x, int64_t k) { return {"top_k", {std::move(x)}, {{"k", k}}, 0}; }

TEST(TopKCuda, MatchesASortOverSeveralParts) {
  FLOE_NEEDS_CUDA();
  for (const int64_t n : {4095, 4096, 4097, 8192, 32003, 65536, 70001}) {
    for (const int64_t k : {1, 5, 32, 33}) check_kernel(top_case(CaseInput::normal({3, n}), k));
  }
}

TEST(TopKCuda, MatchesASortForManyOfARow) {
  FLOE_NEEDS_CUDA();
  for (const int64_t n : {300, 5000, 9001}) {
    for (const int64_t k : {255, 256, 257, 1000, 4096, 9100}) {
      check_kernel(top_case(CaseInput::normal({2, n}), k));
    }
  }
}

TEST(TopKCuda, MatchesASortForHalfTypesWhichHaveManyTies) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const int64_t n : {1, 7, 1024, 4100, 20000}) {
      check_kernel(top_case(CaseInput::normal({5, n}, dtype), 40));
    }
  }
}

TEST(TopKCuda, TakesTheLowerIndexAcrossParts) {
  FLOE_NEEDS_CUDA();
  Tensor equal(DType::f32, {2, 10000});
  for (int64_t i = 0; i < equal.size(); ++i) equal.set(i, i < 10000 ? 3 : i % 3);
  check_kernel(top_case(CaseInput::of(std::move(equal)), 300));
  Tensor rising(DType::f32, {1, 10000});
  for (int64_t i = 0; i < rising.size(); ++i) rising.set(i, static_cast<double>(i));
  check_kernel(top_case(CaseInput::of(std::move(rising)), 70));
}

// All that is above the threshold lies with few threads: the pool is as full as it gets.
TEST(TopKCuda, MatchesASortWhereFewThreadsHoldTheLargest) {
  FLOE_NEEDS_CUDA();
  Tensor x(DType::f32, {1, 4096});
  for (int64_t i = 0; i < x.size(); ++i) x.set(i, i % 1024 < 64 ? 10 + i % 7 : -static_cast<double>(i % 11));
  for (const int64_t k : {2, 16, 17, 256}) check_kernel(top_case(CaseInput::of(copy_of(x)), k));
}

TEST(TopKCuda, NeverChoosesNaNAndTakesInfinitiesAndZerosAsNumbers) {
  FLOE_NEEDS_CUDA();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float values[] = {std::numeric_limits<float>::quiet_NaN(), -kInf, kInf, 0.0f, -0.0f, 1e-45f, -1e-45f};
  Tensor x(DType::f32, {3, 5003});
  for (int64_t i = 0; i < x.size(); ++i) x.as<float>()[i] = i < 5003 ? values[0] : values[i % 7];
  for (const int64_t k : {3, 900, 5003}) check_kernel(top_case(CaseInput::of(copy_of(x)), k));
}

}  // namespace
}  // namespace floe
