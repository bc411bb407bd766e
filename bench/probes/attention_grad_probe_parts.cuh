// What the probes of attention's gradient share: sizes, random data, time.
#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "device/cuda/check.h"
#include "device/cuda/launch.cuh"
#include "ops/attention/attention_cuda.cuh"

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

struct Memory {
  void* data = nullptr;
  explicit Memory(size_t bytes) { FLOE_CUDA_CALL(cudaMalloc(&data, bytes)); }
  ~Memory() { cudaFree(data); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
};

void fill(const Memory& to, int64_t count, uint64_t seed) {
  launch("fill", fill_normal, {dim3(blocks_for(count, 256)), dim3(256)}, nullptr, static_cast<Half*>(to.data),
         count, seed);
}

struct Shape {
  int s, d;
  bool causal;
  int batch() const { return 16384 / s; }
  int heads() const { return 2048 / d; }
  int64_t count() const { return int64_t{16384} * 2048; }
  double flops() const {
    return 10.0 * batch() * heads() * static_cast<double>(s) * s * d * (causal ? 0.5 : 1.0);
  }
  // Of token t, head h.
  size_t at(int t, int h) const { return (static_cast<size_t>(t) * heads() + h) * d; }
};

AttentionProblem problem_of(const Shape& shape) {
  const int b = shape.batch(), h = shape.heads(), s = shape.s, d = shape.d;
  const HeadsLayout layout{int64_t{1} * s * h * d, int64_t{1} * h * d, d};
  AttentionSpec spec{b, s, s, h, h, d, d, layout, layout, layout, layout, layout, layout};
  spec.causal = shape.causal ? AttentionSpec::Causal::top_left : AttentionSpec::Causal::none;
  spec.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(d)));
  return AttentionProblem::of(spec);
}

// Waits for what has been queued; where that takes ten seconds, a block waits for what never comes, and no
// call of CUDA would return: says so and ends.
void wait_or_quit() {
  const auto start = std::chrono::steady_clock::now();
  cudaError_t state;
  while ((state = cudaStreamQuery(nullptr)) == cudaErrorNotReady) {
    if (std::chrono::steady_clock::now() - start > std::chrono::seconds(10)) {
      std::printf("  HANGS\n");
      std::fflush(stdout);
      std::_Exit(3);
    }
  }
  FLOE_CUDA_CALL(state);
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
