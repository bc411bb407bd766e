// Attention on sm_90's tensor cores (attention_wgmma_cuda.cuh): sizes, barriers, a tile, and the warp that
// brings.
#pragma once
#include "kernel/cuda/tma.cuh"
#include "ops/attention/attention_tiles_cuda.cuh"

namespace floe {

struct ForwardOptions {
  int width;               // of a head, in features: 64, 128 or 256
  int warpgroups;          // 64 queries each
  int keys;                // of a block, a multiple of 16
  int stages = 2;          // blocks of keys, and of values, that are there or on their way
  bool own_out = true;     // outputs have shared memory of their own, and queries two buffers
  bool take_turns = true;  // the token
  bool stays = true;       // a block takes tile after tile; else there is a block for each
  bool votes = false;      // a warp rescales its outputs only where a maximum rose
};

template <class T, ForwardOptions kOptions>
struct WgmmaForwardTraits {
  using Element = T;
  static constexpr int kD = kOptions.width, kN = kOptions.keys, kStages = kOptions.stages;
  static constexpr int kWarpgroups = kOptions.warpgroups;
  static constexpr int kM = 64 * kWarpgroups;
  static constexpr int kThreads = 128 * (kWarpgroups + 1);
  static constexpr bool kOwnOut = kOptions.own_out, kTakeTurns = kOptions.take_turns, kStays = kOptions.stays;
  static constexpr bool kVotes = kOptions.votes;
  static constexpr int kQueryStages = kOwnOut ? 2 : 1;
  static constexpr int kPanels = kD / 64;
  // 65,536 registers: those of the warpgroup that brings and of the others.
  static constexpr int kBringRegisters = kWarpgroups == 3 ? 32 : 40;
  static constexpr int kRegisters = kWarpgroups == 3 ? 160 : 232;

  // Bytes in shared memory. A panel is 64 features of all rows.
  static constexpr uint32_t kQueryPanel = kM * 128, kKeyPanel = kN * 128;
  static constexpr uint32_t kQueryTile = kPanels * kQueryPanel, kKeyTile = kPanels * kKeyPanel;
  static constexpr uint32_t kKeysAt = kQueryStages * kQueryTile;
  static constexpr uint32_t kValuesAt = kKeysAt + kStages * kKeyTile;
  static constexpr uint32_t kOutAt = kOwnOut ? kValuesAt + kStages * kKeyTile : 0;
  static constexpr uint32_t kBarriersAt = kValuesAt + kStages * kKeyTile + (kOwnOut ? kQueryTile : 0);
  static constexpr int kBarriers = 2 * kQueryStages + 4 * kStages + 1;
  static constexpr uint32_t kBytes = kBarriersAt + 8 * kBarriers;

  static_assert(kD % 64 == 0 && kD <= 256 && kN % 16 == 0 && kN <= 256);
  static_assert(kWarpgroups == 2 || kWarpgroups == 3);
  static_assert(kWarpgroups * kRegisters + kBringRegisters <=
                (kWarpgroups + 1) * registers_at_start(kThreads));
  static_assert(kKeyPanel % 1024 == 0, "the swizzle repeats every 1024 bytes");
  static_assert(kBytes <= 227 * 1024, "what a block of sm_90 may have");
};

struct WgmmaForward {
  CUtensorMap q, k, v, out;
  AttentionProblem s;
  void* to_out;
  float* lse;
  TileOrder order;
};

// Addresses of the barriers. `full`: the bytes are there; `empty`: all warps of the readers have read them.
template <class Traits>
struct ForwardBarriers {
  uint32_t base;
  __device__ uint32_t queries_full(int stage) const { return at(stage); }
  __device__ uint32_t queries_empty(int stage) const { return at(Traits::kQueryStages + stage); }
  __device__ uint32_t keys_full(int stage) const { return at(2 * Traits::kQueryStages + stage); }
  __device__ uint32_t keys_empty(int stage) const { return keys_full(Traits::kStages + stage); }
  __device__ uint32_t values_full(int stage) const { return keys_full(2 * Traits::kStages + stage); }
  __device__ uint32_t values_empty(int stage) const { return keys_full(3 * Traits::kStages + stage); }
  __device__ uint32_t values_to_clear() const { return keys_full(4 * Traits::kStages); }

  __device__ void init() const {
    constexpr int kReaders = 4 * Traits::kWarpgroups;
    for (int i = 0; i < Traits::kQueryStages; ++i) {
      init_barrier(queries_full(i), 1);
      init_barrier(queries_empty(i), Traits::kOwnOut ? kReaders : Traits::kWarpgroups);
    }
    for (int i = 0; i < Traits::kStages; ++i) {
      init_barrier(keys_full(i), 1);
      init_barrier(keys_empty(i), kReaders);
      init_barrier(values_full(i), 1);
      init_barrier(values_empty(i), kReaders);
    }
    init_barrier(values_to_clear(), 1);
    publish_barriers();
  }

 private:
  __device__ uint32_t at(int i) const { return base + Traits::kBarriersAt + 8 * static_cast<uint32_t>(i); }
};

// One tile as everybody sees it.
template <class Traits>
struct ForwardTile {
  int head, b, h;  // head counts over all batch rows
  int key_head;
  int first;   // query
  int length;  // keys that exist
  int blocks;  // of keys that some query of the tile sees

  __device__ __forceinline__ ForwardTile(const AttentionProblem& s, const TileOrder::Place& place)
      : head(place.head), b(place.head / s.heads), h(place.head % s.heads), first(place.tile * Traits::kM) {
    key_head = h / s.group();
    length = s.length(b);
    const int seen = s.seen(length, ::min(first + Traits::kM, s.queries) - 1);
    blocks = (seen + Traits::kN - 1) / Traits::kN;
  }
};

// The warp that brings: lane 0 starts all copies, the others are there to clear what lies beyond `lengths`.
template <class Traits>
struct ForwardBringer {
  const WgmmaForward& f;
  uint32_t base;
  ForwardBarriers<Traits> barriers{base};
  bool leader = threadIdx.x % 32 == 0;
  uint64_t once = cache_policy<Keep::shortly>(), often = cache_policy<Keep::long_>();
  RingPosition<Traits::kQueryStages> queries = {};
  RingPosition<Traits::kStages> keys = {}, values = {};
  uint32_t clear_parity = 0;

  __device__ __forceinline__ void bring_tile(const ForwardTile<Traits>& tile) {
    bring_keys(tile, tile.blocks - 1);
    bring_queries(tile);
    for (int j = tile.blocks - 1; j > 0; --j) {
      bring_keys(tile, j - 1);
      bring_values(tile, j);
    }
    bring_values(tile, 0);
  }

 private:
  __device__ __forceinline__ void bring_queries(const ForwardTile<Traits>& tile) {
    wait(barriers.queries_empty(queries.stage), queries.parity ^ 1);
    if (leader) {
      const uint32_t bar = barriers.queries_full(queries.stage);
      arrive_expecting(bar, Traits::kQueryTile);
      for (int p = 0; p < Traits::kPanels; ++p) {
        load_box(&f.q, bar,
                 base + static_cast<uint32_t>(queries.stage) * Traits::kQueryTile + p * Traits::kQueryPanel,
                 {64 * p, tile.first, tile.h, tile.b}, once);
      }
    }
    queries.advance();
  }
  __device__ __forceinline__ void load_rows(const CUtensorMap* map, const ForwardTile<Traits>& tile, int j,
                                            uint32_t to, uint32_t bar) {
    if (!leader) return;
    arrive_expecting(bar, Traits::kKeyTile);
    for (int p = 0; p < Traits::kPanels; ++p) {
      load_box(map, bar, to + p * Traits::kKeyPanel, {64 * p, j * Traits::kN, tile.key_head, tile.b}, often);
    }
  }
  __device__ __forceinline__ void bring_keys(const ForwardTile<Traits>& tile, int j) {
    wait(barriers.keys_empty(keys.stage), keys.parity ^ 1);
    load_rows(&f.k, tile, j, base + Traits::kKeysAt + static_cast<uint32_t>(keys.stage) * Traits::kKeyTile,
              barriers.keys_full(keys.stage));
    keys.advance();
  }
  __device__ __forceinline__ void bring_values(const ForwardTile<Traits>& tile, int j) {
    wait(barriers.values_empty(values.stage), values.parity ^ 1);
    const uint32_t to = base + Traits::kValuesAt + static_cast<uint32_t>(values.stage) * Traits::kKeyTile;
    const uint32_t full = barriers.values_full(values.stage);
    const int exist = tile.length - j * Traits::kN;
    if (exist >= Traits::kN || tile.length == f.s.keys) {
      load_rows(&f.v, tile, j, to, full);  // beyond the tensor's end there are zeros
    } else {
      load_rows(&f.v, tile, j, to, barriers.values_to_clear());
      wait(barriers.values_to_clear(), clear_parity);
      clear_parity ^= 1;
      clear_rows(to, exist);
      if (leader) arrive(full);
    }
    values.advance();
  }
  // Values of keys that do not exist meet probabilities of 0, and must not be NaN.
  __device__ __forceinline__ void clear_rows(uint32_t tile, int from) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int p = 0; p < Traits::kPanels; ++p) {
      const uint32_t panel = tile + p * Traits::kKeyPanel;
      for (int i = from * 8 + lane; i < Traits::kN * 8; i += 32) {
        asm volatile(
            "st.shared.v4.b32 [%0], {%1, %1, %1, %1};\n" ::"r"(panel + 16 * static_cast<uint32_t>(i)), "r"(0)
            : "memory");
      }
    }
    publish_shared_stores();
    __syncwarp();
  }
};

}  // namespace floe
