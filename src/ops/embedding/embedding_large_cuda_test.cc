// More than 2^31 elements of a result, and of a table.
#include <gtest/gtest.h>

#include "testing/large_case.h"

namespace floe {
namespace {

TEST(EmbeddingLarge, WritesMoreThan31BitsCount) {
  FLOE_NEEDS_CUDA();
  OpCase one{"embedding", {CaseInput::normal({1000, 1024}), CaseInput::integers({4099}, 0, 1000)}, {}, 0};
  check_large({.one = std::move(one), .times = 520, .repeated = 2});
}

TEST(EmbeddingLarge, ReadsATableOfMoreThan31BitsCount) {
  FLOE_NEEDS_CUDA();
  constexpr int64_t kRows = 4099, kTimes = 520;
  // The same rows, in the last of the table's repetitions.
  Tensor first(DType::i32, {kRows}), last(DType::i32, {kRows});
  for (int64_t i = 0; i < kRows; ++i) {
    first.as<int32_t>()[i] = static_cast<int32_t>(i * 7 % kRows);
    last.as<int32_t>()[i] = static_cast<int32_t>((kTimes - 1) * kRows + i * 7 % kRows);
  }
  OpCase one{"embedding", {CaseInput::normal({kRows, 1024}), CaseInput::of(std::move(first))}, {}, 0};
  LargeCase c{.one = std::move(one), .times = kTimes, .repeated = 1};
  c.instead.emplace(1, std::move(last));
  check_large(c);
}

}  // namespace
}  // namespace floe
