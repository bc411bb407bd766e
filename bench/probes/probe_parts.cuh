// What the probes share: random normal data, and how a kernel is timed.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "device/cuda/check.h"
#include "kernel/cuda/half_types.cuh"

namespace floe {
namespace {

using Half = __nv_bfloat16;

__device__ uint32_t mixed(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return static_cast<uint32_t>(x >> 32);
}
__global__ void fill_normal(Half* to, int64_t count, uint64_t seed) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const uint64_t key = (seed << 40) + static_cast<uint64_t>(i) * 2;
  const float u = (static_cast<float>(mixed(key)) + 1.0f) * 0x1p-32f;
  const float v = static_cast<float>(mixed(key + 1)) * 0x1p-32f;
  to[i] = __float2bfloat16_rn(sqrtf(-2 * logf(fminf(u, 1.0f))) * cosf(6.2831853f * v));
}

// Median of five, each over about 20 ms.
double milliseconds(const std::function<void()>& queue) {
  cudaEvent_t begin, end;
  FLOE_CUDA_CALL(cudaEventCreate(&begin));
  FLOE_CUDA_CALL(cudaEventCreate(&end));
  const auto timed = [&](int rounds) {
    FLOE_CUDA_CALL(cudaEventRecord(begin));
    for (int i = 0; i < rounds; ++i) queue();
    FLOE_CUDA_CALL(cudaEventRecord(end));
    FLOE_CUDA_CALL(cudaEventSynchronize(end));
    float total = 0;
    FLOE_CUDA_CALL(cudaEventElapsedTime(&total, begin, end));
    return static_cast<double>(total) / rounds;
  };
  timed(2);
  const int rounds = std::max(3, static_cast<int>(20 / timed(2)));
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) times.push_back(timed(rounds));
  std::sort(times.begin(), times.end());
  FLOE_CUDA_CALL(cudaEventDestroy(begin));
  FLOE_CUDA_CALL(cudaEventDestroy(end));
  return times[2];
}

}  // namespace
}  // namespace floe
