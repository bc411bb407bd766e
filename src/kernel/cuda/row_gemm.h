// C = A B in f32 in which a row's bits do not depend on how many rows there are: every element is one
// accumulator that runs over k = 0, 1, ... with fused multiply-adds, whatever the tile. What inference uses,
// where a sentence must not change with its batch; training in bf16 takes the library's (gemm.h).
#pragma once
#include <cstdint>

#include "kernel/cuda/activation.h"

namespace floe {

struct RowGemm {
  int64_t m = 0, n = 0, k = 0;
  int64_t batch = 1;
  bool transpose_a = false, transpose_b = false;
  CudaActivation activation = CudaActivation::none;

  // Row-major; bias [n], or null.
  void run(const float* a, const float* b, float* c, const float* bias, void* stream) const;
};

}  // namespace floe
