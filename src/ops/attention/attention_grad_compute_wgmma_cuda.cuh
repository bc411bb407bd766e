// The two warpgroups that compute: p and ds of 64 keys each against a step's queries, and all five products.
#pragma once
#include "kernel/cuda/shared_memory.cuh"
#include "kernel/cuda/tma.cuh"
#include "kernel/cuda/wgmma.cuh"
#include "ops/attention/attention_grad_wgmma_cuda.cuh"

namespace floe {

// Makes the rows of a tile of keys that do not exist 0: 0 * NaN would reach dq.
template <class T, int kD>
__device__ void clear_tail(const GradWork<T, kD>& w, int thread) {
  using Tile = GradTile<kD>;
  const int first = w.length - w.n * Tile::kKeys;
  if (first >= Tile::kKeys) return;
  constexpr int kUnits = 8;  // of 16 bytes in a row of a panel
  for (int x = first * kUnits + thread; x < Tile::kKeys * kUnits; x += kComputing) {
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      store_shared_float4(w.base + Tile::kAtK + panel * Tile::kKeys * 128 + x * 16, make_float4(0, 0, 0, 0));
    }
  }
  publish_shared_stores();
  sync_named(kTailCleared, kComputing);
}

// A computing warpgroup's view of its 64 keys.
template <class T, int kD>
struct GradComputer {
  using Tile = GradTile<kD>;
  static constexpr int kM = Tile::kQueries;
  static constexpr int kPart = 64;  // queries between whose products p and ds are made

  const GradWork<T, kD>& w;
  int thread, group, warp, lane;
  int key;  // of this lane's first row; the second is 8 further
  float scale;
  uint32_t keys, values, ds_tile, ds_row;

  __device__ explicit GradComputer(const GradWork<T, kD>& w) : w(w) {
    thread = static_cast<int>(threadIdx.x) - 128;
    group = thread / 128;
    warp = thread / 32 % 4;
    lane = thread % 32;
    key = w.n * Tile::kKeys + 64 * group + 16 * warp + lane / 4;
    scale = w.f.s.scale * 1.4426950408889634f;  // log2(e)
    keys = w.base + Tile::kAtK;
    values = w.base + Tile::kAtV;
    ds_tile = w.base + Tile::kAtDs;
    // Where this lane's row of four 8 x 8 matrices of ds goes: a query's 8 keys.
    ds_row = ds_tile + group * kM * 128 + (lane / 16 * 8 + lane % 8) * 128 +
             (((2 * warp + lane / 8 % 2) ^ lane % 8) << 4);
  }
  __device__ uint32_t queries(int stage) const { return w.base + Tile::kAtQ + stage * Tile::kQueryBytes; }
  __device__ uint32_t douts(int stage) const { return w.base + Tile::kAtDout + stage * Tile::kQueryBytes; }
  __device__ uint32_t rows(int stage) const { return w.base + Tile::kAtRows + stage * Tile::kRowBytes; }

  // to = this group's 64 rows of a tile of keys, times a tile of queries transposed.
  __device__ void multiply_rows(uint32_t a, uint32_t b, float (&to)[kM / 2]) const {
    settle(to);
    start_products();
    multiply_shared<T, kM, kD, Along::rows, Along::rows>(to, TileDescriptor::along_rows(a + group * 64 * 128),
                                                         Tile::kKeys * 128, TileDescriptor::along_rows(b),
                                                         kM * 128, false);
    commit_products();
  }
  // to += p of kRows queries, rounded, times these rows of a tile of queries.
  template <int kRows>
  __device__ void multiply_columns(uint32_t (&p)[kRows / 4], uint32_t b, float (&to)[kD / 2]) const {
    settle(p);
    settle(to);
    start_products();
    multiply_registers<T, kD, kRows, Along::columns>(to, p, TileDescriptor::along_columns(b, kM * 128), 0,
                                                     true);
    commit_products();
  }
  // dq of this group's 64 queries (64 features) or columns (128), from ds in shared memory.
  __device__ void multiply_ds(float (&dq)[32]) const {
    settle(dq);
    start_products();
    multiply_shared<T, 64, Tile::kKeys, Along::rows, Along::columns>(
        dq, TileDescriptor::along_rows(ds_tile + (kD == 64 ? group * 64 * 128 : 0)), kM * 128,
        TileDescriptor::along_columns(keys + (kD == 64 ? 0 : group * (Tile::kKeys * 128)), Tile::kKeys * 128),
        0, false);
    commit_products();
  }

  // A key sees queries from least[r] on, counted from the step's first.
  struct Mask {
    bool whole;
    int least[2];
  };
  __device__ Mask mask_of(int q0) const {
    const int diagonal = w.f.s.diagonal;
    return {(w.n + 1) * Tile::kKeys <= ::min(w.length, q0 + 1 + diagonal),
            {key < w.length ? key - diagonal - q0 : kM, key + 8 < w.length ? key + 8 - diagonal - q0 : kM}};
  }
  // x = 0 where a key does not see, of kPart queries from `first`.
  __device__ void apply(const Mask& mask, int first, float* x) const {
    if (mask.whole) return;
#pragma unroll
    for (int i = 0; i < kPart / 8; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (first + 8 * i + 2 * (lane % 4) + e % 2 < mask.least[e / 2]) x[4 * i + e] = 0;
      }
    }
  }
  __device__ void to_probabilities(uint32_t lses, float* p) const {
#pragma unroll
    for (int i = 0; i < kPart / 8; ++i) {
      const float2 lse = load_shared_float2(lses + (8 * i + 2 * (lane % 4)) * 4);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        p[4 * i + e] = exp2_fast(fmaf(p[4 * i + e], scale, e % 2 == 0 ? -lse.x : -lse.y));
      }
    }
  }
  __device__ void to_ds(uint32_t deltas, const float* p, float* ds) const {
#pragma unroll
    for (int i = 0; i < kPart / 8; ++i) {
      const float2 delta = load_shared_float2(deltas + (8 * i + 2 * (lane % 4)) * 4);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        ds[4 * i + e] = p[4 * i + e] * (ds[4 * i + e] - (e % 2 == 0 ? delta.x : delta.y));
      }
    }
  }
  template <int kCount>
  __device__ static void round(const float* x, uint32_t* to) {
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) to[i] = pack_pair<T>(x[2 * i], x[2 * i + 1]);
  }

  __device__ void give_dq(int item, const float (&dq)[32]) const {
    wait(w.bars.dq_empty(), static_cast<uint32_t>(item % 2 ^ 1));
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      store_shared_float4(w.base + Tile::kAtDq + 16 * Tile::dq_unit(i, thread),
                          make_float4(dq[4 * i], dq[4 * i + 1], dq[4 * i + 2], dq[4 * i + 3]));
    }
    publish_shared_stores();
    __syncwarp();
    if (lane == 0) arrive(w.bars.dq_full());
  }

  __device__ void queue_scores(int item, float (&p)[kM / 2], float (&ds)[kM / 2]) const {
    const int stage = item % 2;
    const uint32_t parity = static_cast<uint32_t>(item / 2 % 2);
    wait(w.bars.q_full(stage), parity);
    multiply_rows(keys, queries(stage), p);
    if (item == 0) wait(w.bars.v_full(), 0);
    wait(w.bars.dout_full(stage), parity);
    multiply_rows(values, douts(stage), ds);
  }

  // The next step's scores and dp are queued at a step's end, so that the tensor cores go on while the loop
  // turns; dv while ds is made, dk while dq is handed over.
  __device__ void run(float (&dk)[kD / 2], float (&dv)[kD / 2]) const {
    float p[kM / 2], ds[kM / 2], dq[32];
    wait(w.bars.k_full(), 0);
    clear_tail(w, thread);
    queue_scores(0, p, ds);
    int m = w.start;
    for (int item = 0;; ++item, m = w.after(m)) {
      const int stage = item % 2;
      const Mask mask = mask_of(m * kM);
      uint32_t rounded[kM / kPart][kPart / 4], rounded_ds[kM / 4];
      wait_products<1>();
      settle(p);
#pragma unroll
      for (int part = 0; part < kM / kPart; ++part) {
        constexpr int kPartValues = kPart / 2;
        float* p_part = p + part * kPartValues;
        float* ds_part = ds + part * kPartValues;
        to_probabilities(rows(stage) + part * kPart * 4, p_part);
        apply(mask, part * kPart, p_part);
        round<kPartValues>(p_part, rounded[part]);
        multiply_columns<kPart>(rounded[part], douts(stage) + part * kPart * 128, dv);
        if (part == 0) {
          wait_products<1>();
          settle(ds);
        }
        to_ds(rows(stage) + (kM + part * kPart) * 4, p_part, ds_part);
        apply(mask, part * kPart, ds_part);
        round<kPartValues>(ds_part, rounded_ds + part * kPartValues / 2);
      }
      if (item > 0) sync_named(kDsRead + (1 - group), kComputing);
#pragma unroll
      for (int k = 0; k < kM; k += 16) store_matrices_transposed(ds_row + k * 128, &rounded_ds[k / 4]);
      publish_shared_stores();
      sync_named(kDsWritten, kComputing);
      multiply_ds(dq);
      multiply_columns<kM>(rounded_ds, queries(stage), dk);
      wait_products<1>();
      settle(dq);
      settle(dv);
      if (lane == 0) arrive(w.bars.dout_empty(stage));
      if (item + 1 < w.items) arrive_named(kDsRead + group, kComputing);
      give_dq(item, dq);
      wait_products<0>();
      settle(dk);
      if (lane == 0) arrive(w.bars.q_empty(stage));
      if (item + 1 == w.items) break;
      queue_scores(item + 1, p, ds);
    }
  }

  __device__ void write(const float (&dk)[kD / 2], const float (&dv)[kD / 2]) const {
    const WgmmaGrad<T>& f = w.f;
    const AttentionProblem& s = f.s;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int at = key + 8 * r;
      if (at >= s.keys) continue;
      const bool exists = at < w.length;
      T* to_dk = f.dk + w.b * s.dk.batch + at * s.dk.row + w.key_head * s.dk.head;
      T* to_dv = f.dv + w.b * s.dv.batch + at * s.dv.row + w.key_head * s.dv.head;
#pragma unroll
      for (int i = 0; i < kD / 8; ++i) {
        const int c = 8 * i + 2 * (lane % 4);
        const int e = 4 * i + 2 * r;
        if (c < s.width) {
          *reinterpret_cast<uint32_t*>(to_dk + c) =
              exists ? pack_pair<T>(dk[e] * s.scale, dk[e + 1] * s.scale) : 0;
        }
        if (c < s.value_width) {
          *reinterpret_cast<uint32_t*>(to_dv + c) = exists ? pack_pair<T>(dv[e], dv[e + 1]) : 0;
        }
      }
    }
  }
};

}  // namespace floe
