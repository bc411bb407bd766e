// More tiles than processors, as the vocabulary has: a block keeps 64 or 128 rows of x and walks over
// columns. Its warpgroups have tiles of 64 x 64 for themselves and the splits of K one after the other, added
// up in registers; so while one stores its tile, the others multiply. With 128 rows two warpgroups share each
// tile of weights, which comes through a ring that the first of them fills.
#include <algorithm>

#include "device/cuda/current_device.h"
#include "ops/row_linear/row_linear_wide_cuda.cuh"

namespace floe {
namespace {

constexpr int kGroups = 4;  // warpgroups of a block
constexpr int kThreads = 128 * kGroups;
constexpr int kColumns = 64;
constexpr int kWPanel = kColumns * kPanelRow;
constexpr int kSplits = splits_for(kMostResident);

// kHalves tiles of rows; as many warpgroups share a ring.
template <int kHalvesOf, int kStagesOf>
struct Walk {
  static constexpr int kHalves = kHalvesOf, kStages = kStagesOf;
  static constexpr int kRings = kGroups / kHalves;
  static constexpr int kRing = kRings * kStages * kWPanel;
};

struct WalkCall {
  RowLinearCall linear;
  int column_tiles, blocks_of_rows;  // blocks that have the same rows
  int rings, barriers;               // where they lie in shared memory
};

template <class S>
__global__ void __launch_bounds__(kThreads, 1)
    walk_kernel(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
                const __grid_constant__ WalkCall walk) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char walk_shared[];
  const RowLinearCall& call = walk.linear;
  const int group = static_cast<int>(threadIdx.x) / 128;
  const int half = group % S::kHalves, ring_number = group / S::kHalves;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) % 128 / 32;
  const bool leads = threadIdx.x % (128 * S::kHalves) == 0;  // fills its ring
  const int64_t row0 = (int64_t{blockIdx.x % call.row_tiles} * S::kHalves + half) * kTileRows;
  const int all_panels = static_cast<int>(call.k) / kPanel, panels = all_panels / kSplits;
  // Its ring's tiles of columns: every tile_step-th.
  const int first_tile = static_cast<int>(blockIdx.x / call.row_tiles) * S::kRings + ring_number;
  const int tile_step = walk.blocks_of_rows * S::kRings;
  const int tiles = max(0, (walk.column_tiles - first_tile + tile_step - 1) / tile_step);
  const int steps = tiles * all_panels;
  const uint32_t shared = shared_address(walk_shared);
  const uint32_t rows = shared + half * all_panels * kRowsPanel;
  const uint32_t ring = shared + walk.rings + ring_number * S::kStages * kWPanel;
  const uint32_t filled = shared + walk.barriers + ring_number * 2 * S::kStages * 8;
  const uint32_t emptied = filled + S::kStages * 8;
  const uint32_t rows_there = shared + walk.barriers + S::kRings * 2 * S::kStages * 8 + half * 8;

  let_next_start();
  if (threadIdx.x == 0) {
    prefetch_map(&w_map);
    prefetch_map(&x_map);
#pragma unroll 1
    for (int r = 0; r < S::kRings; ++r) {
#pragma unroll 1
      for (int i = 0; i < 2 * S::kStages; ++i) {
        init_barrier(shared + walk.barriers + (r * 2 * S::kStages + i) * 8,
                     i < S::kStages ? 1 : 4 * S::kHalves);
      }
    }
    init_barrier(rows_there, 1);
    if constexpr (S::kHalves > 1) init_barrier(rows_there + 8, 1);
    publish_barriers();
  }
  __syncthreads();

  // The leader's next step to ask for, its panel and column.
  int asked = 0, asked_panel = 0, asked_column = first_tile * kColumns;
  RingPosition<S::kStages> asked_at;
  const auto ask = [&] {
    const uint32_t bar = filled + asked_at.stage * 8;
    arrive_expecting(bar, kWPanel);
    load_panel(w_map, bar, ring + asked_at.stage * kWPanel, asked_panel, asked_column);
    asked_at.advance();
    ++asked;
    if (++asked_panel == all_panels) {
      asked_panel = 0;
      asked_column += tile_step * kColumns;
    }
  };
  if (!call.early) wait_for_previous();
  if (leads) {
#pragma unroll 1
    while (asked < S::kStages && asked < steps) ask();
  }
  if (call.early) wait_for_previous();
  if (ring_number == 0 && threadIdx.x % 128 == 0) {  // one thread for each tile of rows
    arrive_expecting(rows_there, all_panels * kRowsPanel);
#pragma unroll 1
    for (int panel = 0; panel < all_panels; ++panel) {
      load_panel(x_map, rows_there, rows + panel * kRowsPanel, panel, static_cast<int>(row0));
    }
  }
  wait(rows_there, 0);

  RingPosition<S::kStages> at, done;
  // The oldest panel under way has been read by this warp; the leader asks for what comes into its place.
  const auto release = [&] {
    __syncwarp();
    if (lane == 0) arrive(emptied + done.stage * 8);
    if (leads && asked < steps) {
      wait(emptied + done.stage * 8, done.parity);
      ask();
    }
    done.advance();
  };
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    float totals[kColumns / 2] = {};
#pragma unroll 1
    for (int split = 0; split < kSplits; ++split) {
      float sums[kColumns / 2] = {};
#pragma unroll 1
      for (int panel = 0; panel < panels; ++panel) {
        wait(filled + at.stage * 8, at.parity);
        start_panel<kColumns>(sums, rows + (split * panels + panel) * kRowsPanel, ring + at.stage * kWPanel);
        at.advance();
        if (panel > 0) {
          wait_products<1>();
          release();
        }
      }
      wait_products<0>();
      settle(sums);
      release();
#pragma unroll
      for (int i = 0; i < kColumns / 2; ++i) totals[i] += sums[i];
    }
    const int64_t column0 = int64_t{first_tile + tile * tile_step} * kColumns + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      const int64_t column = column0 + j * 8;
      if (column >= call.n) continue;
      const float2 bias = load_two(call.bias, call.bias_f32, column);
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        const int64_t row = row0 + warp * 16 + upper * 8 + lane / 4;
        if (row >= call.m) continue;
        const int64_t to = row * call.n + column;
        const float2 residual = load_two(call.residual, call.residual_f32, to);
        store_two(call, to, finish(call, totals[4 * j + 2 * upper], bias.x, residual.x),
                  finish(call, totals[4 * j + 2 * upper + 1], bias.y, residual.y));
      }
    }
  }
#endif
}

template <class S>
void start(const RowLinearCall& call, void* stream) {
  WalkCall walk{};
  walk.linear = call;
  const int64_t rows = S::kHalves * kTileRows;
  walk.linear.row_tiles = (call.m + rows - 1) / rows;
  walk.column_tiles = static_cast<int>((call.n + kColumns - 1) / kColumns);
  const int64_t processors = multiprocessors();
  // Many tiles of rows balance themselves.
  const int64_t blocks =
      walk.linear.row_tiles > processors ? 4 : std::max<int64_t>(1, processors / walk.linear.row_tiles);
  walk.blocks_of_rows =
      static_cast<int>(std::min<int64_t>((walk.column_tiles + S::kRings - 1) / S::kRings, blocks));
  walk.rings = static_cast<int>(call.k) / kPanel * kRowsPanel * S::kHalves;
  walk.barriers = walk.rings + S::kRing;
  launch("row_linear", walk_kernel<S>,
         {.grid = dim3(static_cast<unsigned>(walk.linear.row_tiles * walk.blocks_of_rows)),
          .block = dim3(kThreads),
          .shared_bytes = static_cast<size_t>(walk.barriers + (S::kRings * 2 * S::kStages + S::kHalves) * 8),
          .overlap = true},
         stream, panel_map(call.x, call.m, call.k, kTileRows), panel_map(call.w, call.n, call.k, kColumns),
         walk);
}

}  // namespace

bool walk_serves(int64_t m, int64_t n, int64_t k) {
  const int64_t tiles = ((m + kTileRows - 1) / kTileRows) * ((n + kColumns - 1) / kColumns);
  return k <= kMostResident && tiles > multiprocessors() && wide_serves(n, k);
}

void start_walk(const RowLinearCall& call, void* stream) {
  if (call.m > kTileRows && call.k <= 512) return start<Walk<2, 6>>(call, stream);
  if (call.k <= 512) return start<Walk<1, 4>>(call, stream);
  start<Walk<1, 3>>(call, stream);
}

}  // namespace floe
