// Parts of 4,096 numbers give their own k largest; a second kernel finds each one's rank among the parts of
// its row. f32, bf16 and f16.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/top_keys.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

struct Sizes {
  int64_t rows;
  int64_t n;
  int64_t k;
  int parts;   // of a row, at least 1
  int length;  // of a part's list
};

template <class T>
__global__ void __launch_bounds__(kTopThreads)
    part_kernel(const T* x, TopKey* lists, Sizes sizes, bool wide) {
  extern __shared__ TopKey pool[];
  __shared__ TopScratch scratch;
  const int64_t row = blockIdx.x / sizes.parts;
  const int part = static_cast<int>(blockIdx.x % sizes.parts);
  const int64_t base = static_cast<int64_t>(part) * kTopPart;
  float numbers[kTopItems];
  load_part(x + row * sizes.n + base, part_count(sizes.n, base), wide, __int_as_float(0x7FC00000), numbers);
  uint32_t ordered[kTopItems];
#pragma unroll
  for (int item = 0; item < kTopItems; ++item) {
    ordered[item] = numbers[item] == numbers[item] ? ordered_bits(numbers[item]) : 0;
  }
  block_top_list(ordered, static_cast<uint32_t>(base), sizes.length, scratch, pool,
                 lists + static_cast<int64_t>(blockIdx.x) * sizes.length);
}

template <class T>
__global__ void __launch_bounds__(kTopThreads)
    merge_kernel(const T* x, const TopKey* lists, T* values, int32_t* indices, Sizes sizes) {
  __shared__ int found;
  if (threadIdx.x == 0) found = 0;
  __syncthreads();
  const int64_t row = blockIdx.x;
  const int entries = sizes.parts * sizes.length;
  const TopKey* own = lists + row * entries;
  for (int i = static_cast<int>(threadIdx.x); i < entries; i += kTopThreads) {
    const TopKey key = own[i];
    if (key < kFirstKey) continue;
    atomicAdd(&found, 1);
    const int64_t rank = count_above(own, sizes.parts, sizes.length, key);
    if (rank >= sizes.k) continue;
    values[row * sizes.k + rank] = x[row * sizes.n + index_of(key)];
    indices[row * sizes.k + rank] = static_cast<int32_t>(index_of(key));
  }
  __syncthreads();
  for (int64_t i = found + static_cast<int64_t>(threadIdx.x); i < sizes.k; i += kTopThreads) {
    values[row * sizes.k + i] = static_cast<T>(__int_as_float(0xFF800000));
    indices[row * sizes.k + i] = -1;
  }
}

template <class T>
void run_top_k(const KernelRun& run, const Sizes& sizes) {
  const auto* x = run.inputs[0].as<T>();
  auto* lists = static_cast<TopKey*>(run.workspace);
  const bool wide = sizes.n % 4 == 0 && reinterpret_cast<uintptr_t>(x) % (4 * sizeof(T)) == 0;
  const size_t pool = static_cast<size_t>(std::min(sizes.length, kTopRound)) * kTopItems * sizeof(TopKey);
  launch("top_k (parts)", part_kernel<T>,
         {dim3(static_cast<unsigned>(sizes.rows * sizes.parts)), dim3(kTopThreads), pool}, run.stream, x,
         lists, sizes, wide);
  launch("top_k (merge)", merge_kernel<T>, {dim3(static_cast<unsigned>(sizes.rows)), dim3(kTopThreads)},
         run.stream, x, static_cast<const TopKey*>(lists), run.outputs[0].as<T>(),
         run.outputs[1].as<int32_t>(), sizes);
}

template <class T>
Kernel top_k_kernel(DType dtype, const char* name) {
  Kernel kernel;
  kernel.op = "top_k";
  kernel.device = DeviceKind::cuda;
  kernel.name = name;
  kernel.supports = [dtype](const KernelSignature& s) { return s.inputs[0] == dtype; };
  kernel.bind = [](const KernelCall& call) {
    const int64_t n = call.inputs[0].dim(-1);
    const int64_t k = call.outputs[0].dim(-1);
    const int64_t parts = std::max<int64_t>(1, (n + kTopPart - 1) / kTopPart);
    const int64_t length = std::min<int64_t>(k, kTopPart);
    const Sizes sizes{call.outputs[0].size() / k, n, k, static_cast<int>(parts), static_cast<int>(length)};
    const int64_t keys = sizes.rows * parts * length;
    if (parts * length > 0x7FFFFFFF || sizes.rows * parts > 0x7FFFFFFF) {
      check_cuda(cudaErrorInvalidValue, "top_k with 2^31 or more parts, or keys a row");
    }
    return BoundKernel{static_cast<size_t>(keys) * sizeof(TopKey),
                       [sizes](const KernelRun& run) { run_top_k<T>(run, sizes); },
                       {}};
  };
  return kernel;
}

}  // namespace

void add_top_k_cuda(KernelTable& table) {
  table.add(top_k_kernel<__half>(DType::f16, "top_k.f16"));
  table.add(top_k_kernel<__nv_bfloat16>(DType::bf16, "top_k.bf16"));
  table.add(top_k_kernel<float>(DType::f32, "top_k.f32"));
}

}  // namespace floe
