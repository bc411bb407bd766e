// The gradient of attention on Hopper's tensor cores (Shah et al.: "FlashAttention-3", 2024), the same bits
// at every run. A block owns 128 keys of a head, keeps dk and dv of them in registers and walks queries:
//   s^T = k q^T, p^T = exp(scale s^T - lse), dp^T = v dout^T, ds^T = p^T (dp^T - delta)
//   dv += p^T dout, dk += ds^T q, dq += ds k
// Scores are held transposed, so that p^T and ds^T are A operands out of registers; ds alone goes through
// shared memory, for dq. One warp loads, two warpgroups of 64 keys each compute, three warps add dq up.
//
// dq of a query is the sum over blocks of keys, in the order that attention_grad_order_kernel.h fixes: the
// first block writes its part to a slot of f32, each next one waits for its turn and has the copy engine add
// its part; the last one reads the slot, still in L2, and writes dq. With one block no slot is used. Work is
// taken from a ticket, head by head, so that slots can be used again in a ring: nothing is cleared.
//
// Beyond `lengths` no key or value reaches a result. Inside a tile a NaN or infinity in q, k or dout also
// reaches what does not see it (0 * NaN), except that gradients of rows without keys, and of keys beyond
// `lengths`, are 0.
#include <algorithm>

#include "device/cuda/current_device.h"
#include "device/cuda/launch.cuh"
#include "ops/attention/attention_grad_compute_wgmma_cuda.cuh"
#include "ops/attention/attention_grad_parts_wgmma_cuda.cuh"

namespace floe {
namespace {

// The loading thread.
template <class T, int kD>
__device__ void load_tiles(const GradWork<T, kD>& w) {
  using Tile = GradTile<kD>;
  const WgmmaGrad<T>& f = w.f;
  const uint64_t policy = cache_policy<Keep::normally>();
  const auto load = [&](const CUtensorMap& map, uint32_t to, int rows, int row, int head, uint32_t barrier) {
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      load_box(&map, barrier, to + panel * rows * 128, {{64 * panel, row, head, w.b}}, policy);
    }
  };
  int m = w.start, h = w.key_head * f.s.group();
  for (int item = 0; item < w.items; ++item) {
    const int stage = item % 2;
    const uint32_t parity = static_cast<uint32_t>(item / 2 % 2 ^ 1);
    wait(w.bars.q_empty(stage), parity);
    arrive_expecting(w.bars.q_full(stage), Tile::kQueryBytes + Tile::kRowBytes);
    load(f.q, w.base + Tile::kAtQ + stage * Tile::kQueryBytes, Tile::kQueries, m * Tile::kQueries, h,
         w.bars.q_full(stage));
    bulk_load(w.base + Tile::kAtRows + stage * Tile::kRowBytes,
              f.rows + (w.head_index(h) * f.query_blocks + m) * 2 * Tile::kQueries, Tile::kRowBytes,
              w.bars.q_full(stage));
    if (item == 0) {
      arrive_expecting(w.bars.k_full(), Tile::kKeyBytes);
      load(f.k, w.base + Tile::kAtK, Tile::kKeys, w.n * Tile::kKeys, w.key_head, w.bars.k_full());
      arrive_expecting(w.bars.v_full(), Tile::kKeyBytes);
      load(f.v, w.base + Tile::kAtV, Tile::kKeys, w.n * Tile::kKeys, w.key_head, w.bars.v_full());
    }
    wait(w.bars.dout_empty(stage), parity);
    arrive_expecting(w.bars.dout_full(stage), Tile::kQueryBytes);
    load(f.dout, w.base + Tile::kAtDout + stage * Tile::kQueryBytes, Tile::kQueries, m * Tile::kQueries, h,
         w.bars.dout_full(stage));
    m = w.after(m);
    if (m == w.start) ++h;
  }
}

template <class T, int kD>
__global__ __launch_bounds__(GradTile<kD>::kThreads,
                             1) void wgmma_grad_kernel(const __grid_constant__ WgmmaGrad<T> f) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char floe_grad_shared[];
  __shared__ uint32_t ticket;
  const uint32_t base = (shared_address(floe_grad_shared) + 1023) / 1024 * 1024;
  if (threadIdx.x == 0) {
    const GradBarriers bars{base + GradTile<kD>::kAtBarriers};
    init_barrier(bars.k_full(), 1);
    init_barrier(bars.v_full(), 1);
    for (int stage = 0; stage < 2; ++stage) {
      init_barrier(bars.q_full(stage), 1);
      init_barrier(bars.dout_full(stage), 1);
      init_barrier(bars.q_empty(stage), 8);
      init_barrier(bars.dout_empty(stage), 8);
    }
    init_barrier(bars.dq_full(), 8);
    init_barrier(bars.dq_empty(), 3);
    publish_barriers();
    ticket = atomicAdd(f.counters, 1u);
  }
  __syncthreads();
  const GradWork<T, kD> work(f, base, ticket);
  if (threadIdx.x < 128) {
    give_back_registers<GradTile<kD>::kMoveRegisters>();
    if (threadIdx.x >= 32) {
      add_parts(work);
    } else if (threadIdx.x == 0) {
      load_tiles(work);
    }
  } else {
    take_registers<GradTile<kD>::kComputeRegisters>();
    float dk[kD / 2], dv[kD / 2];
#pragma unroll
    for (int i = 0; i < kD / 2; ++i) dk[i] = dv[i] = 0;
    const GradComputer<T, kD> computer(work);
    if (work.items > 0) computer.run(dk, dv);
    computer.write(dk, dv);
  }
#endif
}

template <class T, int kD>
void queue_tiles(WgmmaGrad<T> f, const AttentionPointers& data, void* stream) {
  using Tile = GradTile<kD>;
  const AttentionProblem& s = f.s;
  const auto map = [&](const void* at, const HeadsLayout& x, int rows, int heads, int width, int tile) {
    return tensor_map({.data = at,
                       .dtype = std::is_same_v<T, __half> ? DType::f16 : DType::bf16,
                       .dims = {width, rows, heads, s.batch},
                       .strides = {1, x.row, x.head, x.batch},
                       .box = {64, tile, 1, 1}});
  };
  const HeadsLayout packed{static_cast<int64_t>(s.queries) * s.heads * s.value_width,
                           static_cast<int64_t>(s.heads) * s.value_width, s.value_width};
  f.q = map(data.q, s.q, s.queries, s.heads, s.width, Tile::kQueries);
  f.k = map(data.k, s.k, s.keys, s.key_heads, s.width, Tile::kKeys);
  f.v = map(data.v, s.v, s.keys, s.key_heads, s.value_width, Tile::kKeys);
  f.dout = map(data.dout, packed, s.queries, s.heads, s.value_width, Tile::kQueries);
  queue_grad_rows(f, Tile::kQueries, stream);
  launch(
      "attention_grad", wgmma_grad_kernel<T, kD>,
      {dim3(static_cast<unsigned>(s.batch * s.key_heads * f.key_blocks)), dim3(Tile::kThreads), Tile::kBytes},
      stream, f);
}

size_t rounded_up(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

// Where `lengths` say that rows are padded, the border lies beyond what sentences are padded to, as it does
// for the forward pass: a sentence's bits must not depend on the longest one beside it.
WgmmaGradPlan WgmmaGradPlan::of(const AttentionProblem& s, bool lengths, bool dropout) {
  WgmmaGradPlan plan;
  const int widest = ::max(s.width, s.value_width);
  if (dropout || widest <= 32 || widest > 128 || s.queries < (lengths ? 512 : 64) ||
      s.keys < (lengths ? 512 : 129) || !device_is_sm90()) {
    return plan;
  }
  const int processors = multiprocessors();
  const int d = widest <= 64 ? 64 : 128;
  plan.tile = d == 64 ? GradTile<64>::kQueries : GradTile<128>::kQueries;
  constexpr int kKeys = GradTile<64>::kKeys;
  static_assert(kKeys == GradTile<128>::kKeys);
  plan.query_blocks = (s.queries + plan.tile - 1) / plan.tile;
  plan.key_blocks = (s.keys + kKeys - 1) / kKeys;
  if (static_cast<int64_t>(s.batch) * s.key_heads * plan.key_blocks > 0x7fffffff) return plan;
  plan.taken = true;
  plan.rotated = GradOrder::can_rotate(plan.tile, kKeys, s.queries, s.keys, s.diagonal, processors);
  // Slots for three times the heads that run at once, of whole groups: a head then waits for one that blocks
  // before its own work on.
  const int64_t heads = static_cast<int64_t>(s.batch) * s.heads;
  const int64_t groups = 1 + 3 * processors / plan.key_blocks;
  plan.ring = static_cast<int>(std::min(heads, ::max(groups, int64_t{2}) * s.group()));
  const auto blocks = static_cast<size_t>(heads * plan.query_blocks);
  plan.rows_at = rounded_up((blocks + 1) * sizeof(uint32_t));
  plan.sums_at = plan.rows_at + rounded_up(blocks * 2 * plan.tile * sizeof(float));
  plan.bytes =
      plan.sums_at + static_cast<size_t>(plan.ring) * plan.query_blocks * plan.tile * d * sizeof(float);
  return plan;
}

template <class T>
void queue_wgmma_grad(const AttentionProblem& s, const WgmmaGradPlan& plan, const AttentionPointers& data,
                      void* stream) {
  WgmmaGrad<T> f{};
  f.s = s;
  f.out = static_cast<const T*>(data.out);
  f.dout_rows = static_cast<const T*>(data.dout);
  f.lse = data.lse;
  f.dq = static_cast<T*>(data.dq);
  f.dk = static_cast<T*>(data.dk);
  f.dv = static_cast<T*>(data.dv);
  char* workspace = reinterpret_cast<char*>(data.workspace);
  f.counters = reinterpret_cast<uint32_t*>(workspace);
  f.rows = reinterpret_cast<float*>(workspace + plan.rows_at);
  f.sums = reinterpret_cast<float*>(workspace + plan.sums_at);
  f.query_blocks = plan.query_blocks;
  f.key_blocks = plan.key_blocks;
  f.ring = plan.ring;
  f.rotated = plan.rotated;
  if (::max(s.width, s.value_width) <= 64) return queue_tiles<T, 64>(f, data, stream);
  queue_tiles<T, 128>(f, data, stream);
}

template void queue_wgmma_grad<__nv_bfloat16>(const AttentionProblem&, const WgmmaGradPlan&,
                                              const AttentionPointers&, void*);
template void queue_wgmma_grad<__half>(const AttentionProblem&, const WgmmaGradPlan&,
                                       const AttentionPointers&, void*);

}  // namespace floe
