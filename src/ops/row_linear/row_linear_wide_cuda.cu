// Many rows, up to a tile for each processor: a block has 64 rows and 32 or 64 columns of y, and each of its
// four warpgroups a quarter of K for the whole tile. The splits' sums meet in shared memory. With K <= 1024
// (resident) everything a block reads is on its way at once; with a longer K (streamed) a warpgroup has a
// ring of panels.
#include <algorithm>

#include "device/cuda/current_device.h"
#include "ops/row_linear/row_linear_wide_cuda.cuh"

namespace floe {
namespace {

constexpr int kGroups = 4;  // warpgroups of a block
constexpr int kThreads = 128 * kGroups;

template <int kColumnsOf, int kSplitsOf>
struct Tile {
  static constexpr int kColumns = kColumnsOf, kSplits = kSplitsOf;
  static constexpr int kOwn = kSplits / kGroups;  // splits of a warpgroup
  static constexpr int kWPanel = kColumns * kPanelRow;
  static constexpr int kPitch = kColumns + 8;  // floats: four rows of sums fill the banks in turn
  static constexpr int kSums = kSplits * kTileRows * kPitch * static_cast<int>(sizeof(float));
  static constexpr int kPairs = kColumns / 2;                      // of neighbours in a row of the tile
  static constexpr int kElements = kTileRows * kPairs / kThreads;  // pairs of a thread
};

struct WideCall {
  RowLinearCall linear;
  int blocks_of_rows;  // neighbouring blocks, one for each tile of columns, that have the same rows
  int barriers;        // where they lie in shared memory
};

struct Place {
  int64_t row0;
  int column0;
  int group;
  bool leads;
};
template <class S>
__device__ inline Place place_of_block(const WideCall& wide) {
  return {int64_t{blockIdx.x} / wide.blocks_of_rows * kTileRows,
          static_cast<int>(blockIdx.x) % wide.blocks_of_rows * S::kColumns,
          static_cast<int>(threadIdx.x) / 128, threadIdx.x % 128 == 0};
}

__device__ inline void init_barriers(uint32_t barriers, int count) {
  if (threadIdx.x == 0) {
#pragma unroll 1
    for (int i = 0; i < count; ++i) init_barrier(barriers + i * 8, 1);
    publish_barriers();
  }
}

// What is added to a thread's pairs of sums, as it lies in memory: asked for before it is needed.
template <class S>
struct Addends {
  uint2 bias[S::kElements], residual[S::kElements];

  __device__ void ask(const RowLinearCall& call, int64_t row0, int column0) {
#pragma unroll
    for (int e = 0; e < S::kElements; ++e) {
      const int pair = static_cast<int>(threadIdx.x) + e * kThreads;
      const int64_t row = row0 + pair / S::kPairs, column = column0 + pair % S::kPairs * 2;
      const bool inside = row < call.m && column < call.n;
      bias[e] = load_pair(inside ? call.bias : nullptr, call.bias_f32, column);
      residual[e] = load_pair(inside ? call.residual : nullptr, call.residual_f32, row * call.n + column);
    }
  }
};

// The splits' sums through shared memory, which nothing else uses any more, into y.
template <class S>
__device__ inline void store_tile(const RowLinearCall& call, const Place& at,
                                  const float (&sums)[S::kOwn][S::kColumns / 2], const Addends<S>& addends,
                                  float* shared) {
  const int warp = static_cast<int>(threadIdx.x) % 128 / 32, lane = static_cast<int>(threadIdx.x) % 32;
  __syncthreads();
#pragma unroll
  for (int own = 0; own < S::kOwn; ++own) {
    const int row = (at.group * S::kOwn + own) * kTileRows + warp * 16 + lane / 4;
    float* to = shared + row * S::kPitch + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < S::kColumns / 8; ++j) {
      const float* of = sums[own] + j * 4;
      *reinterpret_cast<float2*>(to + j * 8) = make_float2(of[0], of[1]);
      *reinterpret_cast<float2*>(to + 8 * S::kPitch + j * 8) = make_float2(of[2], of[3]);
    }
  }
  __syncthreads();
#pragma unroll
  for (int e = 0; e < S::kElements; ++e) {
    const int pair = static_cast<int>(threadIdx.x) + e * kThreads;
    const int r = pair / S::kPairs, c = pair % S::kPairs * 2;
    if (at.row0 + r >= call.m || at.column0 + c >= call.n) continue;
    float2 total = make_float2(0, 0);
#pragma unroll
    for (int split = 0; split < S::kSplits; ++split) {
      const float2 sum = *reinterpret_cast<const float2*>(shared + (split * kTileRows + r) * S::kPitch + c);
      total.x += sum.x;
      total.y += sum.y;
    }
    const float2 bias = floats_of(addends.bias[e], call.bias_f32);
    const float2 residual = floats_of(addends.residual[e], call.residual_f32);
    store_two(call, (at.row0 + r) * call.n + at.column0 + c, finish(call, total.x, bias.x, residual.x),
              finish(call, total.y, bias.y, residual.y));
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads, 1)
    resident_kernel(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
                    const __grid_constant__ WideCall wide) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char wide_shared[];
  const RowLinearCall& call = wide.linear;
  const Place at = place_of_block<S>(wide);
  const int panels = static_cast<int>(call.k) / (kGroups * kPanel);  // of a warpgroup
  const int first = at.group * panels;
  const uint32_t rows = shared_address(wide_shared) + first * kRowsPanel;
  const uint32_t weights = shared_address(wide_shared) + kGroups * panels * kRowsPanel + first * S::kWPanel;
  const uint32_t barriers = shared_address(wide_shared) + wide.barriers;
  const uint32_t weights_there = barriers + at.group * 16, rows_there = weights_there + 8;

  let_next_start();
  if (at.leads) {
    prefetch_map(&w_map);
    prefetch_map(&x_map);
  }
  init_barriers(barriers, 2 * kGroups);
  __syncthreads();
  if (!call.early) wait_for_previous();
  if (at.leads) {
    arrive_expecting(weights_there, panels * S::kWPanel);
#pragma unroll 1
    for (int p = 0; p < panels; ++p) {
      load_panel(w_map, weights_there, weights + p * S::kWPanel, first + p, at.column0);
    }
  }
  if (call.early) wait_for_previous();
  if (at.leads) {
    arrive_expecting(rows_there, panels * kRowsPanel);
#pragma unroll 1
    for (int p = 0; p < panels; ++p) {
      load_panel(x_map, rows_there, rows + p * kRowsPanel, first + p, static_cast<int>(at.row0));
    }
  }
  Addends<S> addends;
  addends.ask(call, at.row0, at.column0);
  wait(weights_there, 0);
  wait(rows_there, 0);
  float sums[1][S::kColumns / 2] = {};
#pragma unroll 1
  for (int p = 0; p < panels; ++p) {
    start_panel<S::kColumns>(sums[0], rows + p * kRowsPanel, weights + p * S::kWPanel);
  }
  wait_products<0>();
  settle(sums[0]);
  store_tile<S>(call, at, sums, addends, reinterpret_cast<float*>(wide_shared));
#endif
}

template <class S, int kStages>
__global__ void __launch_bounds__(kThreads, 1)
    streamed_kernel(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
                    const __grid_constant__ WideCall wide) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char wide_shared[];
  constexpr int kSlot = S::kWPanel + kRowsPanel;
  const RowLinearCall& call = wide.linear;
  const Place at = place_of_block<S>(wide);
  const int panels = static_cast<int>(call.k) / (S::kSplits * kPanel);  // of a split
  const int steps = S::kOwn * panels, first = at.group * steps;
  const uint32_t ring = shared_address(wide_shared) + at.group * kStages * kSlot;
  const uint32_t barriers = shared_address(wide_shared) + wide.barriers;
  const uint32_t filled = barriers + at.group * kStages * 8;

  let_next_start();
  if (at.leads) {
    prefetch_map(&w_map);
    prefetch_map(&x_map);
  }
  init_barriers(barriers, kGroups * kStages);
  __syncthreads();
  if (!call.early) wait_for_previous();
  const auto ask_weights = [&](int step) {
    const int stage = step % kStages;
    arrive_expecting(filled + stage * 8, kSlot);
    load_panel(w_map, filled + stage * 8, ring + stage * kSlot, first + step, at.column0);
  };
  const auto ask_rows = [&](int step) {
    const int stage = step % kStages;
    load_panel(x_map, filled + stage * 8, ring + stage * kSlot + S::kWPanel, first + step,
               static_cast<int>(at.row0));
  };
  if (at.leads) {
#pragma unroll 1
    for (int step = 0; step < kStages && step < steps; ++step) ask_weights(step);
  }
  if (call.early) wait_for_previous();
  if (at.leads) {
#pragma unroll 1
    for (int step = 0; step < kStages && step < steps; ++step) ask_rows(step);
  }
  Addends<S> addends;
  addends.ask(call, at.row0, at.column0);
  float sums[S::kOwn][S::kColumns / 2] = {};
  RingPosition<kStages> slot;
  int step = 0;
#pragma unroll
  for (int own = 0; own < S::kOwn; ++own) {
#pragma unroll 1
    for (int panel = 0; panel < panels; ++panel, ++step) {
      wait(filled + slot.stage * 8, slot.parity);
      const uint32_t from = ring + slot.stage * kSlot;
      slot.advance();
      start_panel<S::kColumns>(sums[own], from + S::kWPanel, from);
      const int next = step - 1 + kStages;  // into the slot of the step before
      if (step == 0 || next >= steps) continue;
      wait_products<1>();
      sync_named(at.group + 1, 128);
      if (at.leads) {
        ask_weights(next);
        ask_rows(next);
      }
    }
    wait_products<0>();
    settle(sums[own]);
  }
  store_tile<S>(call, at, sums, addends, reinterpret_cast<float*>(wide_shared));
#endif
}

// `bytes` of operands and `barriers` lie in shared memory.
template <class S, class... Parameters>
void start(void (*kernel)(Parameters...), const RowLinearCall& call, int bytes, int barriers, void* stream) {
  WideCall wide{};
  wide.linear = call;
  wide.linear.row_tiles = (call.m + kTileRows - 1) / kTileRows;
  wide.blocks_of_rows = static_cast<int>((call.n + S::kColumns - 1) / S::kColumns);
  wide.barriers = std::max(bytes, S::kSums);
  launch("row_linear", kernel,
         {.grid = dim3(static_cast<unsigned>(wide.linear.row_tiles * wide.blocks_of_rows)),
          .block = dim3(kThreads),
          .shared_bytes = static_cast<size_t>(wide.barriers + barriers * 8),
          .overlap = true},
         stream, panel_map(call.x, call.m, call.k, kTileRows), panel_map(call.w, call.n, call.k, S::kColumns),
         wide);
}

template <class S>
void start_resident(const RowLinearCall& call, void* stream) {
  const int bytes = static_cast<int>(call.k) / kPanel * (kRowsPanel + S::kWPanel);
  start<S>(resident_kernel<S>, call, bytes, 2 * kGroups, stream);
}

template <class S, int kStages>
void start_streamed(const RowLinearCall& call, void* stream) {
  constexpr int kBytes = kGroups * kStages * (S::kWPanel + kRowsPanel);
  start<S>(streamed_kernel<S, kStages>, call, kBytes, kGroups * kStages, stream);
}

}  // namespace

// 64 columns where that leaves most processors something to do and there is room.
RowTile wide_tile(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kEnoughBlocks = 96;
  const int64_t blocks = ((m + kTileRows - 1) / kTileRows) * ((n + 63) / 64);
  const bool has_room = k <= 512 || k > kMostResident;
  return {kTileRows, blocks >= kEnoughBlocks && has_room ? 64 : 32};
}

bool wide_serves(int64_t n, int64_t k) {
  if (n % 2 != 0 || k <= 0 || k % (kPanel * splits_for(k)) != 0) return false;
  return device_is_sm90();
}

void start_wide(const RowLinearCall& call, RowTile tile, void* stream) {
  if (splits_for(call.k) == 8) {
    if (tile.columns == 64) return start_streamed<Tile<64, 8>, 3>(call, stream);
    return start_streamed<Tile<32, 8>, 4>(call, stream);
  }
  if (tile.columns == 64) return start_resident<Tile<64, 4>>(call, stream);
  start_resident<Tile<32, 4>>(call, stream);
}

}  // namespace floe
