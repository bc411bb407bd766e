// Blocks of kSpan elements in f32: a chain for each thread and word of its loads, then a fixed tree. Their
// sums are added in double: a chain for each thread of one block, then the same tree.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 512;
constexpr int64_t kSpan = 1 << 15;  // elements of a block

template <class T>
__global__ void __launch_bounds__(kThreads) sum_squares_kernel(const T* x, float* sums, int64_t n) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  const int64_t begin = blockIdx.x * kSpan, end = ::min(n, begin + kSpan);
  float chains[kVector] = {};
  int64_t i = begin + int64_t{threadIdx.x} * kVector;
#pragma unroll 4
  for (; i + kVector <= end; i += kThreads * kVector) {
    float v[kVector];
    load_floats(x + i, v);
#pragma unroll
    for (int k = 0; k < kVector; ++k) chains[k] = fmaf(v[k], v[k], chains[k]);
  }
  for (; i < end; ++i) {  // the one thread whose last vector is not whole
    const float v = to_float(x[i]);
    chains[0] = fmaf(v, v, chains[0]);
  }
  float sum[1] = {0};
#pragma unroll
  for (int k = 0; k < kVector; ++k) sum[0] += chains[k];
  fold_threads<kThreads>(sum, AddFloats());
  if (threadIdx.x == 0) sums[blockIdx.x] = sum[0];
}

__global__ void __launch_bounds__(kThreads) add_sums_kernel(const float* sums, float* y, int64_t n) {
  __shared__ double chains[kThreads];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += static_cast<double>(sums[i]);
  chains[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) chains[threadIdx.x] += chains[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *y = static_cast<float>(chains[0]);
}

template <class T>
BoundKernel bind(const KernelCall& call) {
  const int64_t n = call.inputs[0].size();
  // Nothing is one block too: it writes the 0.
  const int64_t blocks = std::max<int64_t>(1, (n + kSpan - 1) / kSpan);
  return {blocks > 1 ? static_cast<size_t>(blocks) * sizeof(float) : 0, [=](const KernelRun& run) {
            float* y = run.outputs[0].as<float>();
            float* sums = blocks > 1 ? static_cast<float*>(run.workspace) : y;
            launch("sum_squares", sum_squares_kernel<T>,
                   {.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kThreads)}, run.stream,
                   run.inputs[0].as<T>(), sums, n);
            if (blocks == 1) return;
            launch("sum_squares (sums)", add_sums_kernel, {.grid = dim3(1), .block = dim3(kThreads)},
                   run.stream, sums, y, blocks);
          }};
}

template <class T>
void add(KernelTable& table, const char* name, DType dtype) {
  table.add({.op = "sum_squares",
             .device = DeviceKind::cuda,
             .name = name,
             .supports = [dtype](const KernelSignature& s) { return s.inputs[0] == dtype; },
             .bind = bind<T>});
}

}  // namespace

void add_sum_squares_cuda(KernelTable& table) {
  add<float>(table, "sum_squares.f32", DType::f32);
  add<__nv_bfloat16>(table, "sum_squares.bf16", DType::bf16);
  add<__half>(table, "sum_squares.f16", DType::f16);
}

}  // namespace floe
