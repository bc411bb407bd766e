// Attention on sm_90's tensor cores (attention_wgmma_cuda.cuh): the warpgroups that compute.
#pragma once
#include "kernel/cuda/wgmma.cuh"
#include "ops/attention/attention_wgmma_parts_cuda.cuh"
#include "ops/attention/attention_wgmma_softmax_cuda.cuh"

namespace floe {

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
    // A factor that is NaN is not 1.
    const bool rose = softmax->factor[0] != 1 || softmax->factor[1] != 1;
    if (!Traits::kVotes || __any_sync(0xffffffffu, rose)) {
#pragma unroll
      for (int i = 0; i < kD / 2; ++i) out[i] *= softmax->factor[i / 2 % 2];
    }
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

}  // namespace floe
