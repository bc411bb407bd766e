#include "kernel/cuda/column_sums.h"

#include "device/cuda/launch.cuh"
#include "kernel/cuda/slices.cuh"

namespace floe {
namespace {

constexpr int kLanes = 8;     // threads of a column: each takes every 8th row of its slice
constexpr int kThreads = 32;  // side by side, kVector columns each

template <class T, int kVector>
__global__ void __launch_bounds__(kThreads* kLanes)
    slice_sums(const T* x, int64_t rows, int64_t columns, float* partial) {
  __shared__ float lanes[kLanes][kThreads * kVector];
  let_next_start();
  wait_for_previous();
  constexpr int64_t kColumns = kThreads * kVector;
  const int64_t strips = (columns + kColumns - 1) / kColumns;
  const int64_t slice = blockIdx.x / strips;
  const int64_t first = blockIdx.x % strips * kColumns;
  const int64_t column = first + threadIdx.x * kVector;
  const int64_t end = ::min(rows, (slice + 1) * ColumnSlices::kRows);
  float sums[kVector] = {};
  if (column < columns) {
#pragma unroll 4
    for (int64_t row = slice * ColumnSlices::kRows + threadIdx.y; row < end; row += kLanes) {
      float values[kVector];
      load_floats(x + row * columns + column, values);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sums[k] += values[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k) lanes[threadIdx.y][threadIdx.x * kVector + k] = sums[k];
  __syncthreads();
  const int thread = threadIdx.y * kThreads + threadIdx.x;
  if (thread >= kColumns || first + thread >= columns) return;
  float sum = lanes[0][thread];
#pragma unroll
  for (int lane = 1; lane < kLanes; ++lane) sum += lanes[lane][thread];
  partial[slice * columns + first + thread] = sum;
}

template <class T, int kVector>
void queue(const ColumnSlices& s, const void* x, float* partial, void* stream) {
  static_assert(kThreads * kVector <= kThreads * kLanes, "a thread finishes one column");
  const unsigned strips = blocks_for(s.columns, kThreads * kVector);
  launch("slice_sums", slice_sums<T, kVector>,
         {.grid = dim3(strips * static_cast<unsigned>(s.count())),
          .block = dim3(kThreads, kLanes),
          .overlap = true},
         stream, static_cast<const T*>(x), s.rows, s.columns, partial);
}

template <class T>
void queue(const ColumnSlices& s, const void* x, float* partial, void* stream) {
  constexpr int kVector = 16 / sizeof(T);
  s.columns % kVector == 0 ? queue<T, kVector>(s, x, partial, stream) : queue<T, 1>(s, x, partial, stream);
}

}  // namespace

void sum_slices(const ColumnSlices& slices, const void* x, float* partial, void* stream) {
  slices.type == DType::bf16 ? queue<__nv_bfloat16>(slices, x, partial, stream)
                             : queue<float>(slices, x, partial, stream);
}

void sum_columns(const ColumnSlices& slices, const void* x, float* partial, float* sums, void* stream) {
  sum_slices(slices, x, partial, stream);
  fold_slices(static_cast<const float*>(partial), FoldTargets<float>{sums, nullptr, 1}, 1, slices.count(),
              slices.columns, 0.0f, AddFloats(), StoreFloat<float>(), stream);
}

}  // namespace floe
