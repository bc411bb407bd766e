#include "kernel/cuda/fold_parts.h"

#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"

namespace floe {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 32;
constexpr int kChains = kThreads / kColumns;  // slices s, s + 8, ... are one; then the chains in order

// The first `part_blocks` blocks fold parts, kVector neighbours a thread; the others fold column sums.
template <int kVector>
__global__ void __launch_bounds__(kThreads) fold_kernel(FoldParts p, unsigned part_blocks) {
  __shared__ float chains[kChains][kColumns];
  wait_for_previous();
  if (blockIdx.x < part_blocks) {
    const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVector;
    if (i >= p.elements) return;
    float total[kVector];
    load_floats(p.parts + i, total);
#pragma unroll 8
    for (int64_t part = 1; part < p.count; ++part) {
      float values[kVector];
      load_floats(p.parts + part * p.elements + i, values);
#pragma unroll
      for (int k = 0; k < kVector; ++k) total[k] += values[k];
    }
    store_floats(p.to + i, total);
    return;
  }
  const int lane = threadIdx.x % kColumns, chain = threadIdx.x / kColumns;
  const int64_t column = static_cast<int64_t>(blockIdx.x - part_blocks) * kColumns + lane;
  float sum = 0;
  if (column < p.columns) {
#pragma unroll 4
    for (int64_t slice = chain; slice < p.sum_count; slice += kChains) {
      sum += p.sum_slices[slice * p.columns + column];
    }
  }
  chains[chain][lane] = sum;
  __syncthreads();
  if (chain != 0 || column >= p.columns) return;
#pragma unroll
  for (int other = 1; other < kChains; ++other) sum += chains[other][lane];
  p.sums[column] = sum;
}

}  // namespace

void FoldParts::run(void* stream) const {
  const auto start = [&](auto kernel, int vector) {
    const unsigned part_blocks = blocks_for(elements, int64_t{kThreads} * vector);
    launch(
        "fold_parts", kernel,
        {.grid = dim3(part_blocks + blocks_for(columns, kColumns)), .block = dim3(kThreads), .overlap = true},
        stream, *this, part_blocks);
  };
  elements % 4 == 0 ? start(fold_kernel<4>, 4) : start(fold_kernel<1>, 1);
}

}  // namespace floe
