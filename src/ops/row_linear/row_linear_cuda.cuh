// What the three ways of multiplying rows share (row_linear_cuda.cu chooses): the order of summation, which
// makes a row's bits independent of the tile and of the other rows.
//
// K is cut into chunks of 32, the chunks into 4 or 8 splits of neighbours, by K alone. A split is one chain
// of tensor-core products over its chunks, two of 16 neighbours of k each, begun at 0; the splits are added
// to 0 in order; then bias, activation, residual. Within 16 the kernels of mma.sync hold k = 4 t .. 4 t + 3
// of their rows of A and B in lane t of a quad, 8 bytes as they lie in memory: both operands are permuted
// alike, so nothing need be shuffled, and both kernels permute so. On sm_90 an order within 16 changes no
// bit, so that wgmma, which has its own, fits in.
#pragma once
#include "kernel/cuda/activation.cuh"
#include "kernel/cuda/warp_mma.cuh"

namespace floe {

constexpr int kChunk = 32;
// A longer K has more warps of the split kernel to read it.
constexpr int splits_for(int64_t k) { return k <= 1024 ? 4 : 8; }
__host__ __device__ constexpr int chunks_of(int64_t k) { return static_cast<int>((k + kChunk - 1) / kChunk); }
// Where split s ends, in chunks.
__host__ __device__ constexpr int split_end(int chunks, int s, int splits) {
  return static_cast<int>(static_cast<int64_t>(chunks) * (s + 1) / splits);
}

enum class RowNorm { none, layer_norm, rms_norm };

struct RowLinearCall {
  const __nv_bfloat16* x;  // [m, k]
  const __nv_bfloat16* w;  // [n, k]
  const float *gamma, *beta;
  const void *bias, *residual;  // null: none
  void* y;
  __nv_bfloat16* normed;  // where the normed rows go, or null
  int64_t m, n, k;
  int64_t row_tiles;  // neighbouring blocks take the same columns of y, so that weights are read once
  float eps;
  CudaActivation activation;
  bool bias_f32, residual_f32, y_f32;
  bool early;  // the weights may be read before the kernel's predecessor has ended
};

__device__ inline float load_value(const void* from, bool f32, int64_t i) {
  if (f32) return static_cast<const float*>(from)[i];
  return to_float(static_cast<const __nv_bfloat16*>(from)[i]);
}
__device__ inline float bias_of(const RowLinearCall& call, int64_t column) {
  return call.bias == nullptr ? 0.0f : load_value(call.bias, call.bias_f32, column);
}
__device__ inline float residual_of(const RowLinearCall& call, int64_t row, int64_t column) {
  return call.residual == nullptr ? 0.0f
                                  : load_value(call.residual, call.residual_f32, row * call.n + column);
}
// Out of line: written out for each of a tile's elements, all the activations are a hundred kilobytes of code
// that a block fetches to run once, which took several times as long as its products.
__device__ __noinline__ inline float rarely_activated(CudaActivation which, float x) {
  return activated(which, x);
}

// Two neighbours of a row as they lie in memory, and as numbers; nothing there: zeros.
__device__ inline uint2 load_pair(const void* from, bool f32, int64_t at) {
  if (from == nullptr) return make_uint2(0, 0);
  if (f32) return *reinterpret_cast<const uint2*>(static_cast<const float*>(from) + at);
  return make_uint2(*reinterpret_cast<const uint32_t*>(static_cast<const __nv_bfloat16*>(from) + at), 0);
}
__device__ inline float2 floats_of(const uint2& pair, bool f32) {
  if (f32) return make_float2(__uint_as_float(pair.x), __uint_as_float(pair.y));
  return make_float2(__uint_as_float(pair.x << 16), __uint_as_float(pair.x & 0xffff0000u));
}
__device__ inline float2 load_two(const void* from, bool f32, int64_t at) {
  return floats_of(load_pair(from, f32, at), f32);
}
__device__ inline void store_two(const RowLinearCall& call, int64_t at, float first, float second) {
  if (call.y_f32) {
    *reinterpret_cast<float2*>(static_cast<float*>(call.y) + at) = make_float2(first, second);
  } else {
    *reinterpret_cast<uint32_t*>(static_cast<__nv_bfloat16*>(call.y) + at) =
        pack_pair<__nv_bfloat16>(first, second);
  }
}

// What the sums become. Absent parts are zeros, which change nothing but the sign of a zero.
__device__ inline float finish(const RowLinearCall& call, float sum, float bias, float residual) {
  float x = sum + bias;
  if (call.activation == CudaActivation::relu) {
    x = activated<CudaActivation::relu>(x);
  } else if (call.activation != CudaActivation::none) {
    x = rarely_activated(call.activation, x);
  }
  return x + residual;
}

// What a lane holds of a chunk of a row: k = 4 t .. 4 t + 3 of its first 16 in x and y, of the others in z,
// w.
template <bool kSecond>
__device__ inline void multiply_half(float (&sums)[4], const uint4 (&a)[2], const uint4& b) {
  const uint32_t rows[4] = {kSecond ? a[0].z : a[0].x, kSecond ? a[1].z : a[1].x, kSecond ? a[0].w : a[0].y,
                            kSecond ? a[1].w : a[1].y};
  mma<__nv_bfloat16>(sums, rows, kSecond ? b.z : b.x, kSecond ? b.w : b.y);
}

// sums += the chunk of 16 kM rows and 8 kN columns; a[i] is rows g and g + 8 of tile i.
template <int kM, int kN>
__device__ inline void multiply_chunk(float (&sums)[kM][kN][4], const uint4 (&a)[kM][2],
                                      const uint4 (&b)[kN]) {
#pragma unroll
  for (int i = 0; i < kM; ++i) {
#pragma unroll
    for (int j = 0; j < kN; ++j) multiply_half<false>(sums[i][j], a[i], b[j]);
  }
#pragma unroll
  for (int i = 0; i < kM; ++i) {
#pragma unroll
    for (int j = 0; j < kN; ++j) multiply_half<true>(sums[i][j], a[i], b[j]);
  }
}

// Rows and columns of a block's tile of y. Blocks are numbered along rows first; there may be more than
// 65,535.
struct RowTile {
  int rows, columns;
};

// row_linear_split_cuda.cu: tiles {16, 8}, {16, 16}, {16, 32}, {32, 32}; `norm` only for rows of at most
// kMostNormed and tiles of 16 rows. For a K that is no multiple of a chunk {16, 16}, no norm;
// no other kernel takes a K that is no multiple of 8.
constexpr int64_t kMostNormed = 1024;
void start_split(const RowLinearCall& call, RowTile tile, RowNorm norm, void* stream);
// row_linear_wide_cuda.cu: tiles of 64 rows, K a multiple of 256 (above 1,024: of 512), N even, on sm_90.
bool wide_serves(int64_t n, int64_t k);
RowTile wide_tile(int64_t m, int64_t n, int64_t k);
void start_wide(const RowLinearCall& call, RowTile tile, void* stream);
// row_linear_walk_cuda.cu: the same for more tiles than processors; K at most 1,024.
bool walk_serves(int64_t m, int64_t n, int64_t k);
void start_walk(const RowLinearCall& call, void* stream);
// row_linear_staged_cuda.cu: tiles {64, 64}, {64, 128}, {128, 128}; K a multiple of 8, N even.
void start_staged(const RowLinearCall& call, RowTile tile, void* stream);

}  // namespace floe
