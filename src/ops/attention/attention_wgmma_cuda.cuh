// Attention on sm_90's tensor cores (Shah et al.: "FlashAttention-3", 2024; the online softmax of Milakov and
// Gimelshein). One block stays on each processor and takes tile after tile (attention_tiles_cuda.cuh): kM
// queries of one head. One warp brings queries, keys and values through the copy engine; each of two or three
// warpgroups owns 64 of the queries, with their outputs and a block of scores in registers.
//
// What runs beside what: a warpgroup starts the scores of block n, then the outputs of block n + 1 (the walk
// is from the last key to the first), and makes probabilities of the scores while the outputs are summed. A
// token goes round the warpgroups: only its holder starts products, so that one's exponentials meet the
// other's products.
//
// Probabilities are powers of two relative to the row's maximum so far, in base 2: p = 2^(x c - shift), c =
// scale log2(e), shift = max(x) c rounded once; they are rounded before they meet the values, their sum is of
// the unrounded ones. Blocks of keys begin at multiples of kN, a key that is not seen adds exactly 0: so bits
// depend neither on other queries of a tile nor on padding.
//
// A key beyond `lengths` is never read into a result, whatever it holds. Inside a block of keys a value that
// is NaN or infinite also reaches the queries of the tile that do not see it (0 * NaN).
#pragma once
#include <algorithm>
#include <type_traits>

#include "device/cuda/current_device.h"
#include "device/cuda/launch.cuh"
#include "kernel/cuda/tensor_map.h"
#include "kernel/cuda/tma.cuh"
#include "kernel/cuda/wgmma.cuh"
#include "ops/attention/attention_tiles_cuda.cuh"
#include "ops/attention/attention_wgmma_softmax_cuda.cuh"

namespace floe {

struct ForwardOptions {
  int width;               // of a head, in features: 64, 128 or 256
  int warpgroups;          // 64 queries each
  int keys;                // of a block, a multiple of 16
  int stages = 2;          // blocks of keys, and of values, that are there or on their way
  bool own_out = true;     // outputs have shared memory of their own, and queries two buffers
  bool take_turns = true;  // the token
  bool stays = true;       // a block takes tile after tile; else there is a block for each
};

template <class T, ForwardOptions kOptions>
struct WgmmaForwardTraits {
  using Element = T;
  static constexpr int kD = kOptions.width, kN = kOptions.keys, kStages = kOptions.stages;
  static constexpr int kWarpgroups = kOptions.warpgroups;
  static constexpr int kM = 64 * kWarpgroups;
  static constexpr int kThreads = 128 * (kWarpgroups + 1);
  static constexpr bool kOwnOut = kOptions.own_out, kTakeTurns = kOptions.take_turns, kStays = kOptions.stays;
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

// A warpgroup that computes 64 queries of each tile.
template <class Traits>
struct ForwardReader {
  using T = typename Traits::Element;
  static constexpr int kD = Traits::kD, kN = Traits::kN;
  const WgmmaForward& f;
  uint32_t base;
  int number;  // of this warpgroup, from 0
  ForwardBarriers<Traits> barriers{base};
  int thread = static_cast<int>(threadIdx.x) % 128;
  bool arrives = threadIdx.x % 32 == 0;
  float c = f.s.scale * kLog2OfE;
  RingPosition<Traits::kQueryStages> queries = {};
  RingPosition<Traits::kStages> keys = {}, values = {};

  // Row of the tile that this thread's accumulators d[.. 0], d[.. 1] belong to; 8 further on for d[.. 2],
  // d[.. 3].
  __device__ __forceinline__ int row() const { return 64 * number + thread / 32 * 16 + thread % 32 / 4; }

  __device__ __forceinline__ void compute_tile(const ForwardTile<Traits>& tile) {
    if (tile.blocks == 0) return write_nothing(tile);
    float out[kD / 2];
#pragma unroll
    for (int i = 0; i < kD / 2; ++i) out[i] = 0;
    RowSoftmax<kN> softmax{c};
    float scores[kN / 2];
    uint32_t p[kN / 4];
    // Of blocks 0 .. whole - 1 every query of this warpgroup sees all keys.
    const int whole = f.s.seen(tile.length, tile.first + 64 * number) / kN;
    const int column = 2 * (thread % 4);
    const int seen0 = f.s.seen(tile.length, tile.first + row()) - column;
    const int seen1 = f.s.seen(tile.length, tile.first + row() + 8) - column;

    int j = tile.blocks - 1;
    wait(barriers.queries_full(queries.stage), queries.parity);
    wait(barriers.keys_full(keys.stage), keys.parity);
    start_products();
    start_scores(scores);
    wait_products<0>();
    settle(scores);
    release_keys();
    if (j >= whole) softmax.hide(scores, seen0 - j * kN, seen1 - j * kN);
    softmax.take(scores);
    round_to_fragments<T, kN>(scores, p);
    for (--j; j >= whole; --j) {
      start_block(scores, p, out);
      softmax.hide(scores, seen0 - j * kN, seen1 - j * kN);
      finish_block(scores, p, out, &softmax);
    }
    for (; j >= 0; --j) {
      start_block(scores, p, out);
      finish_block(scores, p, out, &softmax);
    }
    if constexpr (Traits::kOwnOut) release_queries();
    wait(barriers.values_full(values.stage), values.parity);
    settle(p);
    settle(out);
    start_products();
    start_outputs(p, out);
    wait_products<0>();
    settle(out);
    release_values();
    write(tile, softmax, out);
  }

  // The token: each warpgroup hands it to the next.
  __device__ __forceinline__ void make_token() const {
    if (Traits::kTakeTurns && number == Traits::kWarpgroups - 1) arrive_named(1, 256);
  }
  __device__ __forceinline__ void take_token() const {
    if constexpr (Traits::kTakeTurns) sync_named(1 + number, 256);
  }
  __device__ __forceinline__ void pass_token() const {
    if constexpr (Traits::kTakeTurns) arrive_named(1 + (number + 1) % Traits::kWarpgroups, 256);
  }
  // All copies out of shared memory have been read, and nobody waits for the token any more.
  __device__ __forceinline__ void end() const {
    if (thread == 0) wait_stores_read<0>();
    if (number == 0) take_token();
  }

 private:
  __device__ __forceinline__ void start_scores(float (&scores)[kN / 2]) const {
    const uint32_t q = base + static_cast<uint32_t>(queries.stage) * Traits::kQueryTile + 8192 * number;
    const uint32_t k = base + Traits::kKeysAt + static_cast<uint32_t>(keys.stage) * Traits::kKeyTile;
    multiply_shared<T, kN, kD, Along::rows, Along::rows>(scores, TileDescriptor::along_rows(q),
                                                         Traits::kQueryPanel, TileDescriptor::along_rows(k),
                                                         Traits::kKeyPanel, false);
    commit_products();
  }
  __device__ __forceinline__ void start_outputs(const uint32_t (&p)[kN / 4], float (&out)[kD / 2]) const {
    const uint32_t v = base + Traits::kValuesAt + static_cast<uint32_t>(values.stage) * Traits::kKeyTile;
    multiply_registers<T, kD, kN, Along::columns>(out, p, TileDescriptor::along_columns(v, Traits::kKeyPanel),
                                                  0, true);
    commit_products();
  }
  // The scores of one block and the outputs of the block before it, until the scores are there.
  __device__ __forceinline__ void start_block(float (&scores)[kN / 2], uint32_t (&p)[kN / 4],
                                              float (&out)[kD / 2]) {
    take_token();
    wait(barriers.keys_full(keys.stage), keys.parity);
    settle(p);
    settle(out);
    start_products();
    start_scores(scores);
    wait(barriers.values_full(values.stage), values.parity);
    start_products();
    start_outputs(p, out);
    pass_token();
    wait_products<1>();
    settle(scores);
    release_keys();
  }
  __device__ __forceinline__ void finish_block(float (&scores)[kN / 2], uint32_t (&p)[kN / 4],
                                               float (&out)[kD / 2], RowSoftmax<kN>* softmax) {
    softmax->take(scores);
    wait_products<0>();
    settle(out);
    settle(p);
    release_values();
#pragma unroll
    for (int i = 0; i < kD / 2; ++i) out[i] *= softmax->factor[i / 2 % 2];
    round_to_fragments<T, kN>(scores, p);
  }
  __device__ __forceinline__ void release_keys() {
    if (arrives) arrive(barriers.keys_empty(keys.stage));
    keys.advance();
  }
  __device__ __forceinline__ void release_values() {
    if (arrives) arrive(barriers.values_empty(values.stage));
    values.advance();
  }
  __device__ __forceinline__ void release_queries() {
    if (arrives) arrive(barriers.queries_empty(queries.stage));
    queries.advance();
  }

  __device__ __forceinline__ void sync_warpgroup() const {
    sync_named(1 + Traits::kWarpgroups + number, 128);
  }

  __device__ __forceinline__ void write(const ForwardTile<Traits>& tile, RowSoftmax<kN>& softmax,
                                        float (&out)[kD / 2]) {
    // Where the 64 rows' panels lie: memory of their own, or the queries that nobody needs any more.
    constexpr uint32_t kPanel = Traits::kOwnOut ? 8192 : Traits::kQueryPanel;
    const uint32_t rows = base + Traits::kOutAt + (Traits::kOwnOut ? Traits::kPanels : 1) * 8192 * number;
    if (thread == 0) wait_stores_read<0>();  // of the tile before
    sync_warpgroup();
    softmax.finish();
    const int lane = thread % 32;
    const uint32_t line = rows + static_cast<uint32_t>(thread / 32 * 16 + lane % 16) * 128;
#pragma unroll
    for (int k = 0; k < kD / 16; ++k) {
      uint32_t m[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        m[i] = pack_pair<T>(softmax.scaled(out[8 * k + 2 * i], i % 2),
                            softmax.scaled(out[8 * k + 2 * i + 1], i % 2));
      }
      const uint32_t unit = static_cast<uint32_t>((k % 4 * 2 + lane / 16) ^ (lane % 8));
      store_matrices(line + k / 4 * kPanel + 16 * unit, m[0], m[1], m[2], m[3]);
    }
    publish_shared_stores();
    sync_warpgroup();
    if (thread == 0) {
      if (tile.first + 64 * number < f.s.queries) {
        for (int p = 0; p < Traits::kPanels; ++p) {
          store_box(&f.out, rows + p * kPanel, {64 * p, tile.first + 64 * number, tile.h, tile.b});
        }
      }
      commit_stores();
      if constexpr (!Traits::kOwnOut) {
        wait_stores_read<0>();
        arrive(barriers.queries_empty(queries.stage));
      }
    }
    if constexpr (!Traits::kOwnOut) queries.advance();
    if (thread % 4 == 0) {
#pragma unroll
      for (int r = 0; r < 2; ++r) write_lse(tile, row() + 8 * r, softmax.log_sum_exp(r));
    }
  }
  __device__ __forceinline__ void write_lse(const ForwardTile<Traits>& tile, int row, float lse) const {
    const int query = tile.first + row;
    if (query < f.s.queries) f.lse[static_cast<int64_t>(tile.head) * f.s.queries + query] = lse;
  }
  // Queries that see no key.
  __device__ __forceinline__ void write_nothing(const ForwardTile<Traits>& tile) const {
    const int units = f.s.value_width / 8;
    const int count = ::min(64, f.s.queries - tile.first - 64 * number);
    for (int i = thread; i < count * units; i += 128) {
      const int query = tile.first + 64 * number + i / units;
      const int64_t at = (static_cast<int64_t>(tile.b) * f.s.queries + query) * f.s.heads + tile.h;
      reinterpret_cast<uint4*>(f.to_out)[at * units + i % units] = make_uint4(0, 0, 0, 0);
    }
    if (thread < 64) write_lse(tile, 64 * number + thread, -INFINITY);
  }
};

template <class Traits>
__global__ __launch_bounds__(Traits::kThreads,
                             1) void wgmma_forward_kernel(const __grid_constant__ WgmmaForward f) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char floe_tiles_shared[];
  const uint32_t base = shared_address(floe_tiles_shared);
  if (threadIdx.x == 0) {
    if (base % 1024 != 0) __trap();
    ForwardBarriers<Traits>{base}.init();
    prefetch_map(&f.q);
    prefetch_map(&f.k);
    prefetch_map(&f.v);
    prefetch_map(&f.out);
  }
  __syncthreads();
  const int warpgroup = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0);
  if (warpgroup == 0) {
    give_back_registers<Traits::kBringRegisters>();
    if (threadIdx.x < 32) {
      ForwardBringer<Traits> bringer{f, base};
      for (int round = 0;; ++round) {
        const TileOrder::Place place = f.order.at(round);
        if (place.tile < 0) break;
        const ForwardTile<Traits> tile(f.s, place);
        if (tile.blocks > 0) bringer.bring_tile(tile);
      }
    }
  } else {
    take_registers<Traits::kRegisters>();
    ForwardReader<Traits> reader{f, base, warpgroup - 1};
    reader.make_token();
    for (int round = 0;; ++round) {
      const TileOrder::Place place = f.order.at(round);
      if (place.tile < 0) break;
      reader.compute_tile(ForwardTile<Traits>(f.s, place));
    }
    reader.end();
  }
#endif
}

// The tensors as the copy engine sees them, in the boxes that a kernel of Traits moves.
template <class Traits>
struct ForwardBoxes {
  BoxedTensor q, k, v, out;
  ForwardBoxes(const AttentionProblem& s, const AttentionPointers& data) {
    constexpr DType kType = std::is_same_v<typename Traits::Element, __half> ? DType::f16 : DType::bf16;
    const auto boxed = [&](const void* at, int width, int rows, int heads, const HeadsLayout& layout,
                           int box) {
      return BoxedTensor{at,
                         kType,
                         {width, rows, heads, s.batch},
                         {1, layout.row, layout.head, layout.batch},
                         {64, box, 1, 1}};
    };
    const int64_t row = static_cast<int64_t>(s.heads) * s.value_width;
    q = boxed(data.q, s.width, s.queries, s.heads, s.q, Traits::kM);
    k = boxed(data.k, s.width, s.keys, s.key_heads, s.k, Traits::kN);
    v = boxed(data.v, s.value_width, s.keys, s.key_heads, s.v, Traits::kN);
    out = boxed(data.to_out, s.value_width, s.queries, s.heads, {row * s.queries, row, s.value_width}, 64);
  }
};

// For a problem that wgmma_takes().
template <class Traits>
void queue_wgmma(const AttentionProblem& s, const AttentionPointers& data, void* stream) {
  const ForwardBoxes<Traits> boxes(s, data);
  WgmmaForward f{tensor_map(boxes.q), tensor_map(boxes.k), tensor_map(boxes.v), tensor_map(boxes.out), s};
  f.to_out = data.to_out;
  f.lse = data.to_lse;
  f.order = TileOrder::of(s, Traits::kM);
  const int64_t blocks =
      Traits::kStays ? std::min<int64_t>(f.order.count(), multiprocessors()) : f.order.count();
  launch("attention", wgmma_forward_kernel<Traits>,
         {dim3(static_cast<unsigned>(blocks)), dim3(Traits::kThreads), Traits::kBytes}, stream, f);
}

}  // namespace floe
