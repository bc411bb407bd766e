// The three warps that add the parts of dq up, in the order of attention_grad_order_kernel.h.
#pragma once
#include "kernel/cuda/bulk.cuh"
#include "kernel/cuda/shared_memory.cuh"
#include "ops/attention/attention_grad_wgmma_cuda.cuh"

namespace floe {

// Writes dq of query block m: the part, with the slot's sums where there are any.
template <class T, int kD, bool kSlot>
__device__ void write_dq(const GradWork<T, kD>& w, int h, int m, const float* slot) {
  const WgmmaGrad<T>& f = w.f;
  const uint32_t part = w.base + GradTile<kD>::kAtDq;
  constexpr int kUnits = 8 * 64;  // a unit: 8 columns of two rows, 64 bytes of four neighbouring threads
  for (int x = static_cast<int>(threadIdx.x) - 32; x < kUnits; x += 96) {
    const int group = x % 8, quad = x / 8;
    float4 sum[4];
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      if constexpr (kSlot) {
        sum[t] = __ldcg(reinterpret_cast<const float4*>(slot) + GradTile<kD>::dq_unit(group, 4 * quad + t));
      } else {
        sum[t] = make_float4(0, 0, 0, 0);
      }
    }
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const float4 y = load_shared_float4(part + 16 * GradTile<kD>::dq_unit(group, 4 * quad + t));
      sum[t].x += y.x;
      sum[t].y += y.y;
      sum[t].z += y.z;
      sum[t].w += y.w;
    }
    const int half = quad / 32;  // the warpgroup: queries at 64 features, columns at 128
    const int c = 8 * group + (kD == 64 ? 0 : 64 * half);
    if (c >= f.s.width) continue;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int query =
          m * GradTile<kD>::kQueries + (kD == 64 ? 64 * half : 0) + quad % 32 / 8 * 16 + quad % 8 + 8 * r;
      if (query >= f.s.queries) continue;
      const float scale = f.s.scale;
      uint4 row{0, 0, 0, 0};
      if (f.s.seen(w.length, query) > 0) {
        if (r == 0) {
          row = {pack_pair<T>(sum[0].x * scale, sum[0].y * scale),
                 pack_pair<T>(sum[1].x * scale, sum[1].y * scale),
                 pack_pair<T>(sum[2].x * scale, sum[2].y * scale),
                 pack_pair<T>(sum[3].x * scale, sum[3].y * scale)};
        } else {
          row = {pack_pair<T>(sum[0].z * scale, sum[0].w * scale),
                 pack_pair<T>(sum[1].z * scale, sum[1].w * scale),
                 pack_pair<T>(sum[2].z * scale, sum[2].w * scale),
                 pack_pair<T>(sum[3].z * scale, sum[3].w * scale)};
        }
      }
      *reinterpret_cast<uint4*>(f.dq + w.b * f.s.dq.batch + query * f.s.dq.row + h * f.s.dq.head + c) = row;
    }
  }
}

// Until the slot's last user has read it, who came `ring` heads before, or more where a head needed no slot.
template <class T, int kD>
__device__ void wait_for_slot(const GradWork<T, kD>& w, int64_t head, int m) {
  const WgmmaGrad<T>& f = w.f;
  for (int64_t before = head - f.ring; before >= 0; before -= f.ring) {
    GradOrder order = w.order;
    order.length = f.s.length(static_cast<int>(before / f.s.heads));
    const int seen = order.seen_blocks(m);
    if (seen < 2) continue;
    wait_for_count(f.counters + 1 + before * f.query_blocks + m, static_cast<uint32_t>(seen) + 2);
    return;
  }
}

// Three warps: add the parts of dq up, in order.
template <class T, int kD>
__device__ void add_parts(const GradWork<T, kD>& w) {
  using Tile = GradTile<kD>;
  const WgmmaGrad<T>& f = w.f;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool leads = threadIdx.x == 32;
  if (w.n == 0) {  // queries in blocks without keys: nobody else has them
    const int rows = ::min(f.s.queries, w.order.first(0) * Tile::kQueries);
    const int units = f.s.width / 8, heads = f.s.group();
    for (int64_t x = static_cast<int64_t>(threadIdx.x) - 32; x < static_cast<int64_t>(rows) * heads * units;
         x += 96) {
      const int c = static_cast<int>(x % units) * 8;
      const int h = w.key_head * heads + static_cast<int>(x / units % heads);
      const int64_t query = x / units / heads;
      *reinterpret_cast<uint4*>(f.dq + w.b * f.s.dq.batch + query * f.s.dq.row + h * f.s.dq.head + c) =
          uint4{0, 0, 0, 0};
    }
  }
  int m = w.start, h = w.key_head * f.s.group();
  for (int item = 0; item < w.items; ++item) {
    const int64_t head = w.head_index(h);
    const auto rank = static_cast<uint32_t>(w.order.rank(w.n, m));
    const auto seen = static_cast<uint32_t>(w.order.seen_blocks(m));
    uint32_t* counter = f.counters + 1 + head * f.query_blocks + m;
    float* slot = f.sums + (head % f.ring * f.query_blocks + m) * (Tile::kQueries * kD);
    wait(w.bars.dq_full(), static_cast<uint32_t>(item % 2));
    if (rank + 1 < seen) {
      if (leads) {
        if (rank == 0) {
          wait_for_slot(w, head, m);
          fence_engine();
          bulk_store(slot, w.base + Tile::kAtDq, Tile::kDqBytes);
        } else {
          wait_for_count(counter, rank);
          fence_engine();
          bulk_add(slot, w.base + Tile::kAtDq, Tile::kDqBytes);
        }
        commit_stores();
        wait_stores_read<0>();
        arrive(w.bars.dq_empty());
        wait_stores<0>();
        fence_engine();
        release_count(counter, 1);
      } else if (lane == 0) {
        arrive(w.bars.dq_empty());
      }
      __syncwarp();
    } else {
      if (rank == 0) {
        write_dq<T, kD, false>(w, h, m, slot);
      } else {
        if (lane == 0) wait_for_count(counter, rank);
        __syncwarp();
        write_dq<T, kD, true>(w, h, m, slot);
      }
      __syncwarp();
      if (lane == 0) {
        arrive(w.bars.dq_empty());
        release_count(counter, 1);  // three of these: the slot is free
      }
    }
    m = w.after(m);
    if (m == w.start) ++h;
  }
}

}  // namespace floe
