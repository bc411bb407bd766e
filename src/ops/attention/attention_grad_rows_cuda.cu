// What the gradient of attention needs of each query: lse in powers of two and delta = sum(dout * out), side
// by side for the queries of a step. `out` is the rounded one that was returned, so that p (dp - delta) sums
// to 0 over a row as far as out itself does.
#include "device/cuda/launch.cuh"
#include "ops/attention/attention_grad_wgmma_cuda.cuh"

namespace floe {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 8;  // of a row
constexpr float kLog2E = 1.4426950408889634f;

// Queries beyond the last get lse = inf, which makes their probabilities 0.
template <class T>
__global__ __launch_bounds__(kThreads) void grad_rows_kernel(const WgmmaGrad<T> f, int tile) {
  const AttentionProblem& s = f.s;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (thread < f.count_of_counters()) f.counters[thread] = 0;
  const int64_t row = thread / kLanes;
  const int padded = f.query_blocks * tile;
  if (row >= static_cast<int64_t>(s.batch) * padded * s.heads) return;  // whole groups of lanes
  const int h = static_cast<int>(row % s.heads);
  const int query = static_cast<int>(row / s.heads % padded);
  const int64_t b = row / s.heads / padded;
  float delta = 0;
  if (query < s.queries) {
    const int64_t at = ((b * s.queries + query) * s.heads + h) * s.value_width;
    for (int c = static_cast<int>(threadIdx.x) % kLanes * 8; c < s.value_width; c += kLanes * 8) {
      float x[8], y[8];
      unpack16<T>(*reinterpret_cast<const uint4*>(f.out + at + c), x);
      unpack16<T>(*reinterpret_cast<const uint4*>(f.dout_rows + at + c), y);
#pragma unroll
      for (int i = 0; i < 8; ++i) delta = fmaf(x[i], y[i], delta);
    }
  }
  const unsigned group = 0xffu << (threadIdx.x % 32 / kLanes * kLanes);
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2) delta += __shfl_xor_sync(group, delta, step);
  if (threadIdx.x % kLanes != 0) return;
  float lse = INFINITY;
  if (query < s.queries) {
    const float x = f.lse[(b * s.heads + h) * s.queries + query];
    if (x != -INFINITY) lse = x * kLog2E;
  }
  float* to = f.rows + ((b * s.heads + h) * f.query_blocks + query / tile) * 2 * tile + query % tile;
  to[0] = lse;
  to[tile] = delta;
}

}  // namespace

template <class T>
void queue_grad_rows(const WgmmaGrad<T>& f, int tile, void* stream) {
  // Every counter has a row of its own and more.
  const int64_t rows = static_cast<int64_t>(f.s.batch) * f.s.heads * f.query_blocks * tile;
  launch("attention_grad (rows)", grad_rows_kernel<T>,
         {dim3(blocks_for(rows * kLanes, kThreads)), dim3(kThreads)}, stream, f, tile);
}

template void queue_grad_rows<__nv_bfloat16>(const WgmmaGrad<__nv_bfloat16>&, int, void*);
template void queue_grad_rows<__half>(const WgmmaGrad<__half>&, int, void*);

}  // namespace floe
