// Sums down the columns of row-major [rows, columns] on the GPU, in f32 and a fixed order: slices of rows
// first, then the slices (slices.cuh).
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace floe {

struct ColumnSlices {
  static constexpr int64_t kRows = 256;  // of a slice

  DType type = DType::f32;  // f32 or bf16
  int64_t rows = 0, columns = 0;

  int64_t count() const { return (rows + kRows - 1) / kRows; }
  size_t bytes() const { return static_cast<size_t>(count() * columns) * sizeof(float); }
};

// `partial` [count, columns]: the sums of each slice. `x` is aligned to 16 bytes where its rows are.
void sum_slices(const ColumnSlices& slices, const void* x, float* partial, void* stream);

// `sums` [columns]; 0 over no rows. `partial` is room for slices.bytes().
void sum_columns(const ColumnSlices& slices, const void* x, float* partial, float* sums, void* stream);

}  // namespace floe
