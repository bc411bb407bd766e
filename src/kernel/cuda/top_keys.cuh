// The largest of many. A number and its index make one key: of two keys the larger has the larger number, or
// the same number and the lower index. No two keys are equal, so a selection has one result however its
// threads interleave. A key below kFirstKey stands for no number.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace floe {

using TopKey = unsigned long long;

constexpr TopKey kFirstKey = 1ull << 32;
constexpr TopKey kLastKey = ~0ull;  // above that of any number

// Ordered as the numbers, both zeros alike; at least 1 for what is not NaN.
__device__ inline uint32_t ordered_bits(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);
  return bits ^ ((bits >> 31) != 0 ? 0xFFFFFFFFu : 0x80000000u);
}

__device__ inline float number_of_bits(uint32_t ordered) {
  return __uint_as_float(ordered ^ ((ordered >> 31) != 0 ? 0x80000000u : 0xFFFFFFFFu));
}

// `ordered` 0: no number.
__device__ inline TopKey top_key(uint32_t ordered, uint32_t index) {
  return static_cast<TopKey>(ordered) << 32 | ~index;
}
__device__ inline uint32_t index_of(TopKey key) { return ~static_cast<uint32_t>(key); }
__device__ inline float number_of(TopKey key) { return number_of_bits(static_cast<uint32_t>(key >> 32)); }

// How many keys of lists in descending order, `length` keys each and one behind the other, are above `key`.
// Eight binary searches go side by side, for each waits for its own loads.
__device__ inline int64_t count_above(const TopKey* lists, int number, int length, TopKey key) {
  constexpr int kAtOnce = 8;
  int64_t total = 0;
  const int widest = 1 << (31 - __clz(length));  // the largest power of two in length; length >= 1
  for (int first = 0; first < number; first += kAtOnce) {
    int above[kAtOnce] = {};
    for (int step = widest; step > 0; step /= 2) {
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const int next = above[k] + step;
        if (first + k < number && next <= length &&
            lists[static_cast<int64_t>(first + k) * length + next - 1] > key) {
          above[k] = next;
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) total += above[k];
  }
  return total;
}

// A block looks at parts of a row: 16 numbers a thread, four neighbours at a time.
constexpr int kTopThreads = 256;
constexpr int kTopItems = 16;
constexpr int kTopPart = kTopThreads * kTopItems;
constexpr int kTopRound = kTopThreads;  // the most that one selection gives

__device__ inline int top_offset(int item) {
  return item / 4 * (4 * kTopThreads) + 4 * static_cast<int>(threadIdx.x) + item % 4;
}

// Elements of the part that begins at `base`.
__device__ inline int part_count(int64_t n, int64_t base) {
  return n - base < kTopPart ? static_cast<int>(n - base) : kTopPart;
}

// This thread's numbers of a part with `count` elements, `fill` past its end. `wide`: part is aligned to four
// elements and count is a multiple of four.
template <class T>
__device__ void load_part(const T* part, int count, bool wide, float fill, float (&numbers)[kTopItems]) {
  struct alignas(4 * sizeof(T)) Four {
    T of[4];
  };
#pragma unroll
  for (int item = 0; item < kTopItems; item += 4) {
    const int at = top_offset(item);
    if (wide && at < count) {
      const Four four = *reinterpret_cast<const Four*>(part + at);
#pragma unroll
      for (int k = 0; k < 4; ++k) numbers[item + k] = static_cast<float>(four.of[k]);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        numbers[item + k] = at + k < count ? static_cast<float>(part[at + k]) : fill;
      }
    }
  }
}

struct TopScratch {  // shared memory
  TopKey maxima[kTopThreads];
  TopKey threshold;
  int count;
};

// Batcher's bitonic sort over the lanes of a warp, the largest in lane 0.
__device__ inline TopKey sort_warp_descending(TopKey key) {
  const unsigned lane = threadIdx.x & 31;
#pragma unroll
  for (unsigned size = 2; size <= 32; size *= 2) {
#pragma unroll
    for (unsigned step = size / 2; step > 0; step /= 2) {
      const TopKey other = __shfl_xor_sync(0xFFFFFFFFu, key, step);
      const bool larger = ((lane & step) == 0) == ((lane & size) == 0);  // is what this lane keeps
      key = (key > other) == larger ? key : other;
    }
  }
  return key;
}

// The `wanted` (1..kTopRound) largest of the block's keys that are below `bound`, largest first, then zeros
// where there are fewer. The wanted-th largest of the threads' own maxima bounds the result from below, and
// only `wanted` threads have anything at or above it: their keys are pooled and each finds its rank by
// comparison with all. `pool` is shared memory for wanted * kTopItems keys. Called by all threads; a barrier
// must come before scratch, pool or list are used again.
__device__ inline void block_top(const uint32_t (&ordered)[kTopItems], uint32_t base, TopKey bound,
                                 int wanted, TopScratch& scratch, TopKey* pool, TopKey* list) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  TopKey best = 0;
#pragma unroll
  for (int item = 0; item < kTopItems; ++item) {
    const TopKey key = top_key(ordered[item], base + static_cast<uint32_t>(top_offset(item)));
    if (key < bound && key > best) best = key;
  }
  const TopKey sorted = sort_warp_descending(best);
  scratch.maxima[thread] = sorted;
  if (thread == 0) {
    scratch.threshold = 0;
    scratch.count = 0;
  }
  __syncthreads();
  if (lane < wanted && count_above(scratch.maxima, kTopThreads / 32, 32, sorted) == wanted - 1) {
    scratch.threshold = sorted;
  }
  __syncthreads();
  const TopKey threshold = scratch.threshold > kFirstKey ? scratch.threshold : kFirstKey;
  if (best >= threshold) {
#pragma unroll
    for (int item = 0; item < kTopItems; ++item) {
      const TopKey key = top_key(ordered[item], base + static_cast<uint32_t>(top_offset(item)));
      if (key < bound && key >= threshold) pool[atomicAdd(&scratch.count, 1)] = key;
    }
  }
  __syncthreads();
  const int count = scratch.count;
  for (int i = thread; i < count; i += kTopThreads) {
    const TopKey key = pool[i];
    int rank = 0;
    for (int k = 0; k < count; ++k) rank += pool[k] > key ? 1 : 0;
    if (rank < wanted) list[rank] = key;
  }
  for (int i = count + thread; i < wanted; i += kTopThreads) list[i] = 0;
}

// The same for any length up to kTopPart, in rounds. `pool`: min(length, kTopRound) * kTopItems keys.
__device__ inline void block_top_list(const uint32_t (&ordered)[kTopItems], uint32_t base, int length,
                                      TopScratch& scratch, TopKey* pool, TopKey* list) {
  TopKey bound = kLastKey;
  for (int from = 0; from < length; from += kTopRound) {
    if (from > 0) {
      __syncthreads();
      bound = list[from - 1];
    }
    block_top(ordered, base, bound, ::min(kTopRound, length - from), scratch, pool, list + from);
  }
}

}  // namespace floe
