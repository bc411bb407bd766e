// Attention on sm_90's tensor cores (Shah et al.: "FlashAttention-3", 2024; the online softmax of Milakov and
// Gimelshein). A block takes one tile, kM queries of one head, or stays on its processor and takes tile after
// tile (attention_tiles_cuda.cuh). One warp brings queries, keys and values through the copy engine; each of
// two or three warpgroups owns 64 of the queries, with their outputs and a block of scores in registers.
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
#include "ops/attention/attention_wgmma_compute_cuda.cuh"

namespace floe {

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
        if (place.head < 0) break;
        if (place.tile < 0) continue;
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
      if (place.head < 0) break;
      if (place.tile < 0) continue;
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
  f.order = TileOrder::of(s, Traits::kM, Traits::kStays);
  const int64_t blocks =
      Traits::kStays ? std::min<int64_t>(f.order.count(), multiprocessors()) : f.order.count();
  launch("attention", wgmma_forward_kernel<Traits>,
         {dim3(static_cast<unsigned>(blocks)), dim3(Traits::kThreads), Traits::kBytes}, stream, f);
}

}  // namespace floe
