// The second half of a sum down columns: partial results [outer, slices, n] of slices of rows, folded in a
// fixed order -> [outer, n]. Rows are cut by their number alone, so the bits depend on shapes only.
#pragma once
#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"

namespace floe {

constexpr int kFoldColumns = 32;
constexpr int kFoldRows = 16;  // slices s, s + 16, ... are one chain; then the sixteen chains in order

// Where results go: outer index 0..split-1 to `first`, the others to `second` (a norm's two weight gradients
// in one launch).
template <class To>
struct FoldTargets {
  To *first, *second;
  int64_t split;
};

template <class A, class To, class Fold, class Store>
__global__ void __launch_bounds__(kFoldColumns* kFoldRows)
    fold_slices_kernel(const A* partial, FoldTargets<To> targets, int64_t slices, int64_t n, A nothing,
                       Fold fold, Store store) {
  __shared__ A chains[kFoldRows][kFoldColumns];
  const int64_t strips = (n + kFoldColumns - 1) / kFoldColumns;
  const int64_t outer = blockIdx.x / strips;
  const int64_t column = blockIdx.x % strips * kFoldColumns + threadIdx.x;
  const A* from = partial + outer * slices * n + column;
  A value = nothing;
  if (column < n) {
#pragma unroll 4
    for (int64_t slice = threadIdx.y; slice < slices; slice += kFoldRows) {
      value = fold(value, from[slice * n]);
    }
  }
  chains[threadIdx.y][threadIdx.x] = value;
  __syncthreads();
  if (threadIdx.y != 0 || column >= n) return;
  for (int chain = 1; chain < kFoldRows; ++chain) value = fold(value, chains[chain][threadIdx.x]);
  To* to = outer < targets.split ? targets.first + outer * n : targets.second + (outer - targets.split) * n;
  to[column] = store(value);
}

template <class To>
struct StoreFloat {
  __device__ To operator()(float x) const { return from_float<To>(x); }
};

template <class A, class To, class Fold, class Store>
void fold_slices(const A* partial, FoldTargets<To> targets, int64_t outer, int64_t slices, int64_t n,
                 A nothing, Fold fold, Store store, void* stream) {
  launch("fold_slices", fold_slices_kernel<A, To, Fold, Store>,
         {.grid = dim3(static_cast<unsigned>(outer * ((n + kFoldColumns - 1) / kFoldColumns))),
          .block = dim3(kFoldColumns, kFoldRows)},
         stream, partial, targets, slices, n, nothing, fold, store);
}

}  // namespace floe
