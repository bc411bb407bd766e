#include "kernel/cuda/row_gemm.h"

#include "device/cuda/launch.cuh"
#include "kernel/cuda/activation.cuh"
#include "kernel/cuda/half_types.cuh"
#include "kernel/cuda/warp_mma.cuh"

namespace floe {
namespace {

// f32: a block makes kTile x kTile of C, a thread 4 x 4 of them.
constexpr int kTile = 64;
constexpr int kDepth = 16;
constexpr int kFloatThreads = 256;

struct FloatArgs {
  const float* a;
  const float* b;
  float* c;
  const float* bias;
  int64_t m, n, k;
  int64_t batch, b_step;  // elements from one B to the next
  int64_t row_tiles, column_tiles;
  bool transpose_a, transpose_b;
  CudaActivation activation;
};

__global__ void __launch_bounds__(kFloatThreads) float_tiles(FloatArgs p) {
  __shared__ float a_tile[kDepth][kTile + 4];
  __shared__ float b_tile[kDepth][kTile + 4];
  const int64_t tiles = p.row_tiles * p.column_tiles;
  const int64_t batch = blockIdx.x / tiles;
  const int64_t tile = blockIdx.x % tiles;
  const int64_t row0 = tile / p.column_tiles * kTile, column0 = tile % p.column_tiles * kTile;
  const float* a = p.a + batch * p.m * p.k;
  const float* b = p.b + batch * p.b_step;
  const int ty = threadIdx.x / 16 * 4, tx = threadIdx.x % 16 * 4;
  float sums[4][4] = {};
  for (int64_t k0 = 0; k0 < p.k; k0 += kDepth) {
    // Neighbouring threads read neighbouring memory, whichever way the operand lies.
    for (int i = threadIdx.x; i < kTile * kDepth; i += kFloatThreads) {
      const int along_k = p.transpose_a ? i / kTile : i % kDepth;
      const int along_m = p.transpose_a ? i % kTile : i / kDepth;
      const int64_t row = row0 + along_m, k = k0 + along_k;
      const bool inside = row < p.m && k < p.k;
      a_tile[along_k][along_m] = inside ? a[p.transpose_a ? k * p.m + row : row * p.k + k] : 0.0f;
    }
    for (int i = threadIdx.x; i < kTile * kDepth; i += kFloatThreads) {
      const int along_k = p.transpose_b ? i % kDepth : i / kTile;
      const int along_n = p.transpose_b ? i / kDepth : i % kTile;
      const int64_t column = column0 + along_n, k = k0 + along_k;
      const bool inside = column < p.n && k < p.k;
      b_tile[along_k][along_n] = inside ? b[p.transpose_b ? column * p.k + k : k * p.n + column] : 0.0f;
    }
    __syncthreads();
    // Past the end there is nothing to add: 0 * NaN would not be nothing.
    const int depth = p.k - k0 < kDepth ? static_cast<int>(p.k - k0) : kDepth;
    for (int k = 0; k < depth; ++k) {
      float x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] = a_tile[k][ty + i];
        y[i] = b_tile[k][tx + i];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  float* c = p.c + batch * p.m * p.n;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t row = row0 + ty + i, column = column0 + tx + j;
      if (row >= p.m || column >= p.n) continue;
      float value = sums[i][j];
      if (p.bias != nullptr) value += p.bias[column];
      c[row * p.n + column] = activated(p.activation, value);
    }
  }
}

// bf16: four warps, each a quarter of K, over the same 16 kM x 8 kN of C. Fragments come straight from global
// memory: within 32 neighbours of k, lane t of a row holds k = 8 t .. 8 t + 7 for A and for B alike, so both
// agree on which products meet, and each load is 16 bytes.
constexpr int kWarps = 4;
constexpr int kBlockK = 32;

struct LowArgs {
  const __nv_bfloat16* a;
  const __nv_bfloat16* b;
  void* c;
  const void* bias;
  int64_t m, n, k;
  CudaActivation activation;
};

__device__ inline uint4 load16(const __nv_bfloat16* row, int64_t k, int64_t end) {
  if (row == nullptr || k >= end) return make_uint4(0, 0, 0, 0);
  return *reinterpret_cast<const uint4*>(row + k);
}

template <int kM, int kN, class Out>
__global__ void __launch_bounds__(32 * kWarps) low_tiles(LowArgs p) {
  __shared__ float partial[kWarps][16 * kM][8 * kN];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = lane / 4, quad = lane % 4;
  const int64_t row0 = static_cast<int64_t>(blockIdx.y) * 16 * kM;
  const int64_t column0 = static_cast<int64_t>(blockIdx.x) * 8 * kN;
  const __nv_bfloat16* a_rows[kM][2];
  const __nv_bfloat16* b_rows[kN];
#pragma unroll
  for (int i = 0; i < kM; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = row0 + i * 16 + half * 8 + group;
      a_rows[i][half] = row < p.m ? p.a + row * p.k : nullptr;
    }
  }
#pragma unroll
  for (int j = 0; j < kN; ++j) {
    const int64_t column = column0 + j * 8 + group;
    b_rows[j] = column < p.n ? p.b + column * p.k : nullptr;
  }
  float sums[kM][kN][4] = {};
  const int64_t blocks = (p.k + kBlockK - 1) / kBlockK;
  const int64_t begin = blocks * warp / kWarps, end = blocks * (warp + 1) / kWarps;
#pragma unroll 2
  for (int64_t block = begin; block < end; ++block) {
    const int64_t k = block * kBlockK + quad * 8;
    uint4 a[kM][2], b[kN];
#pragma unroll
    for (int j = 0; j < kN; ++j) b[j] = load16(b_rows[j], k, p.k);
#pragma unroll
    for (int i = 0; i < kM; ++i) {
      a[i][0] = load16(a_rows[i][0], k, p.k);
      a[i][1] = load16(a_rows[i][1], k, p.k);
    }
#pragma unroll
    for (int i = 0; i < kM; ++i) {
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        const uint32_t first_a[4] = {a[i][0].x, a[i][1].x, a[i][0].y, a[i][1].y};
        mma<__nv_bfloat16>(sums[i][j], first_a, b[j].x, b[j].y);
        const uint32_t second_a[4] = {a[i][0].z, a[i][1].z, a[i][0].w, a[i][1].w};
        mma<__nv_bfloat16>(sums[i][j], second_a, b[j].z, b[j].w);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kM; ++i) {
#pragma unroll
    for (int j = 0; j < kN; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        partial[warp][i * 16 + e / 2 * 8 + group][j * 8 + quad * 2 + e % 2] = sums[i][j][e];
    }
  }
  __syncthreads();
  const Out* bias = static_cast<const Out*>(p.bias);
  Out* c = static_cast<Out*>(p.c);
  for (int at = threadIdx.x; at < 16 * kM * 8 * kN; at += 32 * kWarps) {
    const int i = at / (8 * kN), j = at % (8 * kN);
    const int64_t row = row0 + i, column = column0 + j;
    if (row >= p.m || column >= p.n) continue;
    float value = (partial[0][i][j] + partial[1][i][j]) + (partial[2][i][j] + partial[3][i][j]);
    if (bias != nullptr) value += to_float(bias[column]);
    c[row * p.n + column] = from_float<Out>(activated(p.activation, value));
  }
}

template <int kM, int kN>
void start_low(const LowArgs& args, DType out, void* stream) {
  // A grid has at most 65,535 rows of blocks.
  constexpr int64_t kMostRows = int64_t{65535} * 16 * kM;
  for (int64_t row = 0; row < args.m; row += kMostRows) {
    LowArgs part = args;
    part.m = args.m - row < kMostRows ? args.m - row : kMostRows;
    part.a = args.a + row * args.k;
    const dim3 grid(blocks_for(args.n, 8 * kN), blocks_for(part.m, 16 * kM));
    if (out == DType::bf16) {
      part.c = static_cast<__nv_bfloat16*>(args.c) + row * args.n;
      launch("row_gemm", low_tiles<kM, kN, __nv_bfloat16>, {grid, dim3(32 * kWarps)}, stream, part);
    } else {
      part.c = static_cast<float*>(args.c) + row * args.n;
      launch("row_gemm", low_tiles<kM, kN, float>, {grid, dim3(32 * kWarps)}, stream, part);
    }
  }
}

}  // namespace

bool RowGemm::supported() const {
  if (in == DType::f32) return out == DType::f32;
  return in == DType::bf16 && !transpose_a && transpose_b && batch == 1 && k % 8 == 0;
}

void RowGemm::run(const void* a, const void* b, void* c, const void* bias, void* stream) const {
  if (m == 0 || n == 0 || batch == 0) return;
  if (in == DType::f32) {
    FloatArgs args{static_cast<const float*>(a),
                   static_cast<const float*>(b),
                   static_cast<float*>(c),
                   static_cast<const float*>(bias),
                   m,
                   n,
                   k,
                   batch,
                   one_b ? 0 : k * n,
                   (m + kTile - 1) / kTile,
                   (n + kTile - 1) / kTile,
                   transpose_a,
                   transpose_b,
                   activation};
    const int64_t blocks = batch * args.row_tiles * args.column_tiles;
    launch("row_gemm_f32", float_tiles, {dim3(static_cast<unsigned>(blocks)), dim3(kFloatThreads)}, stream,
           args);
    return;
  }
  const LowArgs args{static_cast<const __nv_bfloat16*>(a),
                     static_cast<const __nv_bfloat16*>(b),
                     c,
                     bias,
                     m,
                     n,
                     k,
                     activation};
  if (m <= 16) {
    n > 8192 ? start_low<1, 4>(args, out, stream) : start_low<1, 2>(args, out, stream);
  } else if (m <= 32) {
    start_low<2, 4>(args, out, stream);
  } else {
    start_low<4, 4>(args, out, stream);
  }
}

}  // namespace floe
