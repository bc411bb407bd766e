// Two ways to move elements:
//   tiles   where the source is contiguous along one dim and the destination along another: 32 x 32 elements
//           through shared memory, so that both sides move whole sectors
//   words   else: a thread a word, in the destination's order; a word is up to 16 bytes where the last dim is
//           one run on both sides and lengths, strides and addresses allow it, or one element
#include "device/cuda/launch.cuh"
#include "kernel/cuda/strided_copy.h"

namespace floe {
namespace {

constexpr int kThreads = 256;
constexpr int kWordsOfThread = 4;  // loads in flight
constexpr int kTile = 32;
constexpr int kTileRows = 8;  // that a block moves at once

struct CopyCall {
  int rank;
  int64_t dims[kMaxRank], from[kMaxRank], to[kMaxRank];  // innermost first; words
  int64_t size;
};

struct Offsets {
  int64_t from, to;
};

// Index is 32 bits wide where the size allows it, since division is what this costs.
template <class Index>
__device__ inline Offsets offsets_of(const CopyCall& call, Index at) {
  Offsets o{0, 0};
#pragma unroll
  for (int i = 0; i < kMaxRank; ++i) {
    if (i >= call.rank) break;
    const Index dim = static_cast<Index>(call.dims[i]);
    const Index rest = at / dim;
    const Index coordinate = at - rest * dim;
    o.from += static_cast<int64_t>(coordinate) * call.from[i];
    o.to += static_cast<int64_t>(coordinate) * call.to[i];
    at = rest;
  }
  return o;
}

template <class Word, class Index>
__global__ void __launch_bounds__(kThreads) copy_words_kernel(const Word* from, Word* to, CopyCall call) {
  let_next_start();
  wait_for_previous();
  Word words[kWordsOfThread];
  int64_t places[kWordsOfThread];
  const int64_t first = int64_t{blockIdx.x} * (kThreads * kWordsOfThread) + threadIdx.x;
#pragma unroll
  for (int k = 0; k < kWordsOfThread; ++k) {
    const int64_t at = first + k * kThreads;
    if (at >= call.size) break;
    const Offsets o = offsets_of(call, static_cast<Index>(at));
    words[k] = from[o.from];
    places[k] = o.to;
  }
#pragma unroll
  for (int k = 0; k < kWordsOfThread; ++k) {
    if (first + k * kThreads >= call.size) break;
    to[places[k]] = words[k];
  }
}

struct TileCall {
  CopyCall outer;  // the other dims
  int64_t rows, columns, row_tiles, column_tiles;
  int64_t from_column, to_row;  // strides; the source's row and the destination's column stride are 1
};

template <class T>
__global__ void __launch_bounds__(kTile* kTileRows) copy_tiles_kernel(const T* from, T* to, TileCall call) {
  __shared__ T tile[kTile][kTile + 1];
  let_next_start();
  wait_for_previous();
  const int64_t column0 = blockIdx.x % call.column_tiles * kTile;
  const int64_t row0 = blockIdx.x / call.column_tiles % call.row_tiles * kTile;
  const Offsets o = offsets_of<int64_t>(call.outer, blockIdx.x / call.column_tiles / call.row_tiles);
  const int lane = static_cast<int>(threadIdx.x);
  const T* source = from + o.from + row0 + lane;
  if (row0 + lane < call.rows) {
#pragma unroll
    for (int j = static_cast<int>(threadIdx.y); j < kTile; j += kTileRows) {
      if (column0 + j < call.columns) tile[j][lane] = source[(column0 + j) * call.from_column];
    }
  }
  __syncthreads();
  T* target = to + o.to + column0 + lane;
  if (column0 + lane < call.columns) {
#pragma unroll
    for (int j = static_cast<int>(threadIdx.y); j < kTile; j += kTileRows) {
      if (row0 + j < call.rows) target[(row0 + j) * call.to_row] = tile[lane][j];
    }
  }
}

CopyCall call_of(const CopyPlan& plan, int without_a = -1, int without_b = -1) {
  CopyCall call{};
  call.size = 1;
  for (int i = plan.rank - 1; i >= 0; --i) {
    if (i == without_a || i == without_b) continue;
    call.dims[call.rank] = plan.dims[i];
    call.from[call.rank] = plan.from[i];
    call.to[call.rank] = plan.to[i];
    call.size *= plan.dims[i];
    ++call.rank;
  }
  return call;
}

template <class T>
void queue_tiles(const CopyPlan& plan, int across, const void* from, void* to, void* stream) {
  const int last = plan.rank - 1;
  TileCall call{.outer = call_of(plan, across, last),
                .rows = plan.dims[across],
                .columns = plan.dims[last],
                .from_column = plan.from[last],
                .to_row = plan.to[across]};
  call.row_tiles = (call.rows + kTile - 1) / kTile;
  call.column_tiles = (call.columns + kTile - 1) / kTile;
  launch("strided copy (tiles)", copy_tiles_kernel<T>,
         {.grid = dim3(static_cast<unsigned>(call.outer.size * call.row_tiles * call.column_tiles)),
          .block = dim3(kTile, kTileRows),
          .overlap = true},
         stream, static_cast<const T*>(from), static_cast<T*>(to), call);
}

template <class Word>
void queue_words(const CopyPlan& plan, const void* from, void* to, void* stream) {
  const CopyCall call = call_of(plan);
  const bool small = call.size < (int64_t{1} << 31);
  launch("strided copy (words)", small ? copy_words_kernel<Word, uint32_t> : copy_words_kernel<Word, int64_t>,
         {.grid = dim3(blocks_for(call.size, kThreads * kWordsOfThread)),
          .block = dim3(kThreads),
          .overlap = true},
         stream, static_cast<const Word*>(from), static_cast<Word*>(to), call);
}

// The same copy in words of the largest size that everything is a multiple of.
CopyPlan in_words(CopyPlan plan, const void* from, const void* to) {
  const int last = plan.rank - 1;
  if (plan.from[last] != 1 || plan.to[last] != 1) return plan;
  const auto element = static_cast<int64_t>(plan.element);
  int64_t times = 16 / element;
  const auto fits = [&](int64_t n) {
    const auto bytes = static_cast<uintptr_t>(n * element);
    bool all = plan.dims[last] % n == 0 && reinterpret_cast<uintptr_t>(from) % bytes == 0 &&
               reinterpret_cast<uintptr_t>(to) % bytes == 0;
    for (int i = 0; all && i < last; ++i) all = plan.from[i] % n == 0 && plan.to[i] % n == 0;
    return all;
  };
  while (!fits(times)) times /= 2;  // 1 always fits
  plan.dims[last] /= times;
  for (int i = 0; i < last; ++i) {
    plan.from[i] /= times;
    plan.to[i] /= times;
  }
  plan.element = static_cast<size_t>(element * times);
  return plan;
}

}  // namespace

void queue_strided_copy(const CopyPlan& plan, const void* from, void* to, void* stream) {
  for (int i = 0; i < plan.rank; ++i) {
    if (plan.dims[i] == 0) return;
  }
  const int last = plan.rank - 1;
  const auto with_type = [&](size_t bytes, const auto& queue) {
    if (bytes == 16) return queue(uint4());
    if (bytes == 8) return queue(uint64_t());
    if (bytes == 4) return queue(uint32_t());
    if (bytes == 2) return queue(uint16_t());
    queue(uint8_t());
  };
  if (plan.to[last] == 1 && plan.from[last] > 1) {
    for (int i = 0; i < last; ++i) {
      if (plan.from[i] != 1) continue;
      return with_type(plan.element, [&]<class T>(T) {
        if constexpr (sizeof(T) <= 8) queue_tiles<T>(plan, i, from, to, stream);  // no element is wider
      });
    }
  }
  const CopyPlan words = in_words(plan, from, to);
  with_type(words.element, [&]<class T>(T) { queue_words<T>(words, from, to, stream); });
}

void add_copy_kernel_cuda(KernelTable& table, const CopyKernel& what) {
  table.add(copy_kernel(what, DeviceKind::cuda,
                        [](const CopyPlan& plan, const void* from, void* to, const KernelRun& run) {
                          queue_strided_copy(plan, from, to, run.stream);
                        }));
}

}  // namespace floe
