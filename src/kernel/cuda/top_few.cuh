// The few largest of a part (kernel/cuda/top_keys.cuh) at the price of one comparison a number. The block's
// threads are 32 groups of eight; the wanted-th largest of the groups' maxima is a bound that at least
// `wanted` numbers reach and that few pass: on average about wanted^2 / 64 more than wanted. What reaches it
// is pooled and ranked as keys. Where more reach it than the pool holds, as among equal numbers, the caller
// takes block_top_list.
#pragma once
#include <cfloat>

#include "kernel/cuda/top_keys.cuh"

namespace floe {

constexpr int kTopFew = 16;               // the most that is wanted here
constexpr int kTopFewPool = kTopThreads;  // keys: a thread ranks one

struct TopFewScratch {  // shared memory
  float4 groups[8];     // maxima of 32 groups
  int count;
};

struct TopFewBound {
  float most;   // of the block's numbers; NaN counts as -inf
  float bound;  // finite or +inf
};

__device__ inline float thread_max(const float (&x)[kTopItems]) {
  float most = __int_as_float(static_cast<int>(0xFF800000));  // -inf, which NaN does not replace
#pragma unroll
  for (int item = 0; item < kTopItems; ++item) most = fmaxf(most, x[item]);
  return most;
}

// `own`: thread_max of this thread. Called by all threads, has one barrier; a barrier must come before
// scratch is used again.
__device__ inline TopFewBound block_bound(float own, int wanted, TopFewScratch& scratch) {
  constexpr unsigned kLanes = 0xFFFFFFFFu;
  const int thread = static_cast<int>(threadIdx.x);
  auto* groups = reinterpret_cast<float*>(scratch.groups);
  float most = own;
#pragma unroll
  for (int step = 4; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(kLanes, most, step));
  if (thread % 8 == 0) groups[thread / 8] = most;
  if (thread == 0) scratch.count = 0;
  __syncthreads();
  const float group = groups[thread % 32];
  int above = 0;
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const float4 four = scratch.groups[k];
    above += four.x > group ? 1 : 0;
    above += four.y > group ? 1 : 0;
    above += four.z > group ? 1 : 0;
    above += four.w > group ? 1 : 0;
  }
  // Of what has fewer than `wanted` above it the smallest is the wanted-th largest, equal ones counted
  // singly.
  const uint32_t ordered = ordered_bits(group);
  const uint32_t bound = __reduce_min_sync(kLanes, above < wanted ? ordered : 0xFFFFFFFFu);
  return {number_of_bits(__reduce_max_sync(kLanes, ordered)), fmaxf(number_of_bits(bound), -FLT_MAX)};
}

// The `wanted` (1..kTopFew) largest of the block's numbers as block_top gives them, with the scratch and the
// bound that block_bound(.., wanted, ..) gave; false, for all threads and with nothing in `list`, where the
// pool (kTopFewPool keys of shared memory) does not hold what reaches the bound. Called by all threads, has
// one barrier; a barrier must come before scratch, pool or list are used again.
__device__ inline bool block_top_few(const float (&x)[kTopItems], float own, float bound, uint32_t base,
                                     int wanted, TopFewScratch& scratch, TopKey* pool, TopKey* list) {
  const int thread = static_cast<int>(threadIdx.x);
  if (own >= bound) {
#pragma unroll
    for (int item = 0; item < kTopItems; ++item) {
      if (x[item] >= bound) {
        const int at = atomicAdd(&scratch.count, 1);
        if (at < kTopFewPool) {
          pool[at] = top_key(ordered_bits(x[item]), base + static_cast<uint32_t>(top_offset(item)));
        }
      }
    }
  }
  __syncthreads();
  const int count = scratch.count;
  if (count > kTopFewPool) return false;
  if (thread < count) {
    const TopKey key = pool[thread];
    int rank = 0;
    for (int k = 0; k < count; ++k) rank += pool[k] > key ? 1 : 0;
    if (rank < wanted) list[rank] = key;
  }
  if (thread >= count && thread < wanted) list[thread] = 0;
  return true;
}

}  // namespace floe
