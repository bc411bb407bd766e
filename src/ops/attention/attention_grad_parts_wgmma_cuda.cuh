// The three warps that add the parts of dq up, in the order of attention_grad_order_kernel.h.
#pragma once
#include "kernel/cuda/bulk.cuh"
#include "kernel/cuda/shared_memory.cuh"
#include "ops/attention/attention_grad_wgmma_cuda.cuh"

namespace floe {

// Where an adding warp is.
struct GradProgress {
  int item, m;
  uint32_t head, slots;  // of all heads of the batch; the head's first slot
};

// Writes dq of query block at.m: the part, with the slot's sums where there are any. Values are rounded one
// by one, so that 16 sums and their addresses are all that registers hold; `length` and `at` are in shared
// memory.
template <class T, int kD, bool kSlot>
__device__ void write_dq(const WgmmaGrad<T>& f, const volatile int& length, const volatile GradProgress& at,
                         uint32_t part) {
  const AttentionProblem& s = f.s;
  const uint32_t head = at.head, b = head / static_cast<uint32_t>(s.heads);
  T* to = f.dq + b * s.dq.batch + (head - b * s.heads) * s.dq.head;
  const float* slot = f.sums + static_cast<uint64_t>(at.slots + at.m) * (GradTile<kD>::kQueries * kD);
  constexpr int kUnits = 8 * 64;  // a unit: 8 columns of two rows, 64 bytes of four neighbouring threads
#pragma unroll 1
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
    uint32_t row[2][4];
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const float4 y = load_shared_float4(part + 16 * GradTile<kD>::dq_unit(group, 4 * quad + t));
      row[0][t] = pack_pair<T>((sum[t].x + y.x) * s.scale, (sum[t].y + y.y) * s.scale);
      row[1][t] = pack_pair<T>((sum[t].z + y.z) * s.scale, (sum[t].w + y.w) * s.scale);
    }
    const int first = at.m * GradTile<kD>::kQueries;
    const int half = quad / 32;  // the warpgroup: queries at 64 features, columns at 128
    const int c = 8 * group + (kD == 64 ? 0 : 64 * half);
    if (c >= s.width) continue;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int query = first + (kD == 64 ? 64 * half : 0) + quad % 32 / 8 * 16 + quad % 8 + 8 * r;
      if (query >= s.queries) continue;
      const bool sees = s.seen(length, query) > 0;
      *reinterpret_cast<uint4*>(to + query * s.dq.row + c) =
          sees ? uint4{row[r][0], row[r][1], row[r][2], row[r][3]} : uint4{0, 0, 0, 0};
    }
  }
}

// Queries in blocks that see no key: nobody else has them.
template <class T, int kD>
__device__ void clear_unseeing(const GradWork<T, kD>& w) {
  const WgmmaGrad<T>& f = w.f;
  const int rows = ::min(f.s.queries, w.order_of(f, w.length).first(0) * GradTile<kD>::kQueries);
  const int units = f.s.width / 8, heads = f.s.group();
#pragma unroll 1
  for (int64_t x = static_cast<int64_t>(threadIdx.x) - 32; x < static_cast<int64_t>(rows) * heads * units;
       x += 96) {
    const int c = static_cast<int>(x % units) * 8;
    const int h = w.key_head * heads + static_cast<int>(x / units % heads);
    const int64_t query = x / units / heads;
    *reinterpret_cast<uint4*>(f.dq + w.b * f.s.dq.batch + query * f.s.dq.row + h * f.s.dq.head + c) =
        uint4{0, 0, 0, 0};
  }
}

// Until the slot's last user has read it, who came `ring` heads before, or more where a head needed no slot.
template <class T, int kD>
__device__ void wait_for_slot(const WgmmaGrad<T>& f, uint32_t head, int m) {
  for (int before = static_cast<int>(head) - f.ring; before >= 0; before -= f.ring) {
    const int seen = GradWork<T, kD>::order_of(f, f.s.length(before / f.s.heads)).seen_blocks(m);
    if (seen < 2) continue;
    wait_for_count(f.counters + 1 + static_cast<uint32_t>(before) * f.query_blocks + m,
                   static_cast<uint32_t>(seen) + 2);
    return;
  }
}

// Three warps: add the parts of dq up, in order. They take the parts in turn, so that while one waits until
// its part has been written the next one's is under way. Each waits for the turn and fences before it looks
// whether the part is there: the turn mostly comes first, and both take trips to L2 that the next block would
// wait for, too. Those who wrote the part have fenced it; a copy that has ended can be seen without a fence.
//
// 24 registers hold little, and what is spilled would be read back in the chain, from beyond the L1 that each
// acquired count empties. So a block's place is read from shared memory, `place`, again for each part;
// counters and slots are numbers of 32 bits, made into addresses where they are used; and where a warp is
// waits in shared memory while it writes dq, which needs all registers.
template <class T, int kD>
__device__ void add_parts(const GradWork<T, kD>& w, const volatile GradPlace& place) {
  using Tile = GradTile<kD>;
  const WgmmaGrad<T>& f = w.f;
  const bool leads = threadIdx.x % 32 == 0;
  __shared__ GradProgress progress[3];
  GradStamps stamps(2, threadIdx.x == 32);
  if (w.n == 0) clear_unseeing(w);
  const auto blocks = static_cast<uint32_t>(f.query_blocks);
  uint32_t head = static_cast<uint32_t>(w.head_index(w.key_head * f.s.group()));
  uint32_t slots = head % f.ring * blocks;
  int m = w.start;
  for (int item = 0; item < place.items; ++item) {
    const auto counter = [&] { return f.counters + 1 + (head * blocks + m); };
    const auto slot = [&] { return f.sums + static_cast<uint64_t>(slots + m) * (Tile::kQueries * kD); };
    const GradOrder order = w.order_of(f, place.length);
    const auto rank = static_cast<uint32_t>(order.rank(place.n, m));
    const bool last = rank + 1 == static_cast<uint32_t>(order.seen_blocks(m));
    const bool mine = item % 3 == static_cast<int>(threadIdx.x) / 32 - 1, first = rank == 0;
    if (leads && (last || mine)) {
      if (!first) {
        if (grad_keeps_order()) wait_for_count(counter(), rank);
      } else if (!last) {
        wait_for_slot<T, kD>(f, head, m);
      }
      if (!last) fence_engine();
    }
    __syncwarp();
    stamps.add(kStampTurn);
    wait(w.bars.dq_full(item % 2), static_cast<uint32_t>(item / 2 % 2));
    stamps.add(kStampPart);
    const uint32_t part = place.base + Tile::kAtDq + (item % 2) * Tile::kDqBytes;
    if (last) {
      volatile GradProgress& kept = progress[threadIdx.x / 32 - 1];
      if (leads) {
        kept.item = item;
        kept.m = m;
        kept.head = head;
        kept.slots = slots;
      }
      __syncwarp();
      if (first) {
        write_dq<T, kD, false>(f, place.length, kept, part);
      } else {
        write_dq<T, kD, true>(f, place.length, kept, part);
      }
      __syncwarp();
      item = kept.item;
      m = kept.m;
      head = kept.head;
      slots = kept.slots;
      if (leads) {
        arrive(w.bars.dq_empty(item % 2));
        release_count(counter(), 1);  // three of these: the slot is free
      }
      stamps.add(kStampWrite);
    } else {
      if (leads && mine) {
        if (first) {
          bulk_store(slot(), part, Tile::kDqBytes);
        } else {
          bulk_add(slot(), part, Tile::kDqBytes);
        }
        commit_bulk();
        wait_bulk_read();
        stamps.add(kStampRead);
        arrive(w.bars.dq_empty(item % 2));
        wait_bulk_written();
        release_count(counter(), 1);
        stamps.add(kStampWritten);
      } else if (leads) {
        arrive(w.bars.dq_empty(item % 2));
      }
      __syncwarp();
    }
    const int start = place.start;
    m = w.after(f, m, start);
    if (m == start) {
      ++head;
      slots = head % f.ring * blocks;
    }
  }
  stamps.finish(place.items);
}

}  // namespace floe
