// Blocks of kSpan elements in f32: a chain for each thread and word of its loads, then a fixed tree. Their
// sums are added in double: a chain for each thread of one block, then the same tree.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 512;
constexpr int64_t kSpan = 1 << 15;  // elements of a block

// What one launch reads; it must fit a kernel's 4,096 bytes of parameters.
constexpr int kTensors = 160;
struct Tensors {
  int count = 0;
  const void* x[kTensors];
  int64_t n[kTensors];
  int first[kTensors];  // block of the launch
};

template <class T>
__global__ void __launch_bounds__(kThreads) sum_squares_kernel(const Tensors tensors, float* sums) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  int at = 0;  // the last tensor that begins at or before this block
  for (int high = tensors.count - 1; at < high;) {
    const int middle = (at + high + 1) / 2;
    if (tensors.first[middle] <= static_cast<int>(blockIdx.x)) {
      at = middle;
    } else {
      high = middle - 1;
    }
  }
  const T* x = static_cast<const T*>(tensors.x[at]);
  const int64_t begin = (blockIdx.x - tensors.first[at]) * kSpan, end = ::min(tensors.n[at], begin + kSpan);
  const bool aligned = reinterpret_cast<uintptr_t>(x) % 16 == 0;  // a slice may begin anywhere
  float chains[kVector] = {};
  int64_t i = begin + int64_t{threadIdx.x} * kVector;
#pragma unroll 4
  for (; i + kVector <= end; i += kThreads * kVector) {
    float v[kVector];
    if (aligned) {
      load_floats(x + i, v);
    } else {
#pragma unroll
      for (int k = 0; k < kVector; ++k) v[k] = to_float(x[i + k]);
    }
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

// Nothing is one block too: it writes a 0.
int64_t blocks_of(const View& x) { return std::max<int64_t>(1, (x.size() + kSpan - 1) / kSpan); }

template <class T>
BoundKernel bind(const KernelCall& call) {
  int64_t all = 0;
  for (const View& x : call.inputs) all += blocks_of(x);
  return {all > 1 ? static_cast<size_t>(all) * sizeof(float) : 0, [=](const KernelRun& run) {
            float* y = run.outputs[0].as<float>();
            float* sums = all > 1 ? static_cast<float*>(run.workspace) : y;
            int64_t done = 0;
            for (size_t k = 0; k < run.inputs.size();) {
              Tensors tensors;
              int blocks = 0;
              for (; k < run.inputs.size() && kTensors > tensors.count; ++k) {
                const View& x = run.inputs[k];
                const auto at = tensors.count++;
                tensors.x[at] = x.data;
                tensors.n[at] = x.size();
                tensors.first[at] = blocks;
                blocks += static_cast<int>(blocks_of(x));
              }
              launch("sum_squares", sum_squares_kernel<T>,
                     {.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kThreads)}, run.stream,
                     tensors, sums + done);
              done += blocks;
            }
            if (all == 1) return;
            launch("sum_squares (sums)", add_sums_kernel, {.grid = dim3(1), .block = dim3(kThreads)},
                   run.stream, sums, y, all);
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
