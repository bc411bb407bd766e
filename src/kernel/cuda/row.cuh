// A row that one warp or one block holds: chunks of 16 bytes a thread, kept in registers where the row's
// length allows and read again where it does not, and sums over its threads in fixed trees. How a row is cut
// depends on its length and type alone, so its bits do not depend on the rows beside it.
#pragma once
#include <algorithm>
#include <type_traits>

#include "kernel/cuda/half_types.cuh"

namespace floe {

template <int kBytes>
struct WordOf;
template <>
struct WordOf<1> {
  using Type = uint8_t;
};
template <>
struct WordOf<2> {
  using Type = uint16_t;
};
template <>
struct WordOf<4> {
  using Type = uint32_t;
};
template <>
struct WordOf<8> {
  using Type = uint2;
};
template <>
struct WordOf<16> {
  using Type = uint4;
};

// kCount neighbours as they lie in memory, aligned to their size or to 16 bytes.
template <class T, int kCount>
struct Packed {
  static constexpr int kBytes = kCount * static_cast<int>(sizeof(T));
  using Word = typename WordOf<(kBytes < 16 ? kBytes : 16)>::Type;
  static constexpr int kWords = kBytes / static_cast<int>(sizeof(Word));
  Word words[kWords];

  __device__ void load(const T* from) {
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = reinterpret_cast<const Word*>(from)[i];
  }
  __device__ void store(T* to) const {
#pragma unroll
    for (int i = 0; i < kWords; ++i) reinterpret_cast<Word*>(to)[i] = words[i];
  }
  __device__ void unpack(float (&to)[kCount]) const {
    const T* values = reinterpret_cast<const T*>(words);
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = to_float(values[i]);
  }
  __device__ void pack(const float (&from)[kCount]) {
    T* values = reinterpret_cast<T*>(words);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = from_float<T>(from[i]);
  }
};

template <int kCount, class T>
__device__ inline void load_floats(const T* from, float (&to)[kCount]) {
  Packed<T, kCount> packed;
  packed.load(from);
  packed.unpack(to);
}
template <int kCount, class T>
__device__ inline void store_floats(T* to, const float (&from)[kCount]) {
  Packed<T, kCount> packed;
  packed.pack(from);
  packed.store(to);
}

struct AddFloats {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct MaxFloats {  // a NaN wins
  __device__ float operator()(float a, float b) const { return a != a ? a : (a > b ? a : b); }
};

// Every thread of the warp, or of a block of kThreads, gets the fold of all their values: lanes 16, 8, 4, 2
// and 1 apart, then warps in order. Needs all of them to call.
template <int kThreads, class A, int kCount, class Fold>
__device__ inline void fold_threads(A (&values)[kCount], Fold fold) {
  static_assert(kThreads % 32 == 0, "a row takes whole warps");
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      values[k] = fold(values[k], __shfl_xor_sync(0xffffffffu, values[k], apart));
    }
  }
  if constexpr (kThreads > 32) {
    __shared__ A of_warps[kCount][kThreads / 32];
    if (threadIdx.x % 32 == 0) {
#pragma unroll
      for (int k = 0; k < kCount; ++k) of_warps[k][threadIdx.x / 32] = values[k];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      values[k] = of_warps[k][0];
#pragma unroll
      for (int warp = 1; warp < kThreads / 32; ++warp) values[k] = fold(values[k], of_warps[k][warp]);
    }
    __syncthreads();  // the next fold writes there again
  }
}

// How rows of one length are cut: kThreads threads for each, kVector neighbours a thread and chunk. kChunks
// is how many chunks a thread keeps at most; 0: any number, read again at each pass.
template <int kVectorOf, int kThreadsOf, int kChunksOf>
struct RowPlan {
  static constexpr int kVector = kVectorOf;
  static constexpr int kThreads = kThreadsOf;
  static constexpr int kChunks = kChunksOf;
  static constexpr int kSlots = kChunks > 0 ? kChunks : 1;
  static constexpr int kBlock = kThreads > 32 ? kThreads : 128;  // threads of a block
  static constexpr int kRows = kBlock / kThreads;                // of a block
  using Index = std::conditional_t<(kChunks > 0), int, int64_t>;

  // body(chunk, column) for the chunks of this thread; `chunk` is a constant where chunks are kept.
  template <class Body>
  static __device__ void each(int64_t n, Body body) {
    const int thread = static_cast<int>(threadIdx.x) % kThreads;
    if constexpr (kChunks > 0) {
      const int length = static_cast<int>(n);
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        const int column = (chunk * kThreads + thread) * kVector;
        if (column < length) body(chunk, column);
      }
    } else {
      for (int64_t column = int64_t{thread} * kVector; column < n; column += kThreads * kVector) {
        body(0, column);
      }
    }
  }
};

template <class T, class Plan>
struct Row {
  const T* from;
  Packed<T, Plan::kVector> kept[Plan::kSlots];

  __device__ void load(const T* row, int64_t n) {
    from = row;
    if constexpr (Plan::kChunks > 0) {
      Plan::each(n, [&](int chunk, int column) { kept[chunk].load(row + column); });
    }
  }
  __device__ void get(int chunk, typename Plan::Index column, float (&to)[Plan::kVector]) const {
    if constexpr (Plan::kChunks > 0) {
      kept[chunk].unpack(to);
    } else {
      load_floats(from + column, to);
    }
  }
};

// f(RowPlan) of the plan for rows of n values of T that lie one after the other.
template <class T, class F>
auto with_row_plan(int64_t n, F f) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  if (n % kVector == 0) {
    const int64_t vectors = n / kVector;
    if (vectors <= 32) return f(RowPlan<kVector, 32, 1>());
    if (vectors <= 64) return f(RowPlan<kVector, 32, 2>());
    if (vectors <= 128) return f(RowPlan<kVector, 32, 4>());
    if (vectors <= 512) return f(RowPlan<kVector, 256, 2>());
    return f(RowPlan<kVector, 256, 0>());
  }
  if (n <= 256) return f(RowPlan<1, 32, 8>());
  return f(RowPlan<1, 256, 0>());
}

}  // namespace floe
