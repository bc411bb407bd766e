// C = A B where C is small: a block an element, its sum over k in a fixed order. What a library fills a card
// with here is parts of k, put together as they come.
#pragma once
#include <cstdint>

#include "tensor/dtype.h"

namespace floe {

struct SmallGemm {
  static constexpr int64_t kElements = 1024;  // of one C, at most

  int64_t m = 0, n = 0, k = 0;
  int64_t batch = 1;
  bool transpose_a = false, transpose_b = false;
  DType in = DType::f32, out = DType::f32;  // f32 or bf16; bf16 only from bf16
  bool accumulate = false;                  // C += A B

  // Row-major, one matrix after the other.
  void run(const void* a, const void* b, void* c, void* stream) const;
};

}  // namespace floe
