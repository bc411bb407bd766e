// C = A B in which a row's bits do not depend on how many rows there are: every element is summed over k in
// one order, whatever the tile. What inference uses, where a sentence must not change with its batch, and all
// f32 products; bf16 training takes the library's (gemm.h).
//
// f32: one accumulator runs over k = 0, 1, ... with fused multiply-adds. bf16: K is cut into four segments at
// multiples of 32, each summed by tensor cores from its start, and they are added as (0 + 1) + (2 + 3).
#pragma once
#include <cstdint>

#include "kernel/cuda/activation.h"
#include "tensor/dtype.h"

namespace floe {

struct RowGemm {
  int64_t m = 0, n = 0, k = 0;
  int64_t batch = 1;
  bool transpose_a = false, transpose_b = false;
  DType in = DType::f32;   // bf16: only as run() below allows
  DType out = DType::f32;  // f32, or bf16 from bf16
  bool one_b = true;       // every batch reads the same B
  CudaActivation activation = CudaActivation::none;

  // bf16: A [m, k] and B [n, k] as a linear layer has them, k a multiple of 8, one batch. f32: any.
  bool supported() const;
  // Row-major; bias [n] of the type of C, or null.
  void run(const void* a, const void* b, void* c, const void* bias, void* stream) const;
};

}  // namespace floe
