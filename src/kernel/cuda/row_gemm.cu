#include "kernel/cuda/row_gemm.h"

#include "device/cuda/launch.cuh"
#include "kernel/cuda/activation.cuh"

namespace floe {
namespace {

// A block makes kTile x kTile of C, a thread 4 x 4 of them.
constexpr int kTile = 64;
constexpr int kDepth = 16;
constexpr int kThreads = 256;

struct Args {
  const float* a;
  const float* b;
  float* c;
  const float* bias;
  int64_t m, n, k;
  int64_t row_tiles, column_tiles;
  bool transpose_a, transpose_b;
  CudaActivation activation;
};

__global__ void __launch_bounds__(kThreads) tiles_kernel(Args p) {
  __shared__ float a_tile[kDepth][kTile + 4];
  __shared__ float b_tile[kDepth][kTile + 4];
  const int64_t tiles = p.row_tiles * p.column_tiles;
  const int64_t batch = blockIdx.x / tiles;
  const int64_t tile = blockIdx.x % tiles;
  const int64_t row0 = tile / p.column_tiles * kTile, column0 = tile % p.column_tiles * kTile;
  const float* a = p.a + batch * p.m * p.k;
  const float* b = p.b + batch * p.k * p.n;
  const int ty = threadIdx.x / 16 * 4, tx = threadIdx.x % 16 * 4;
  float sums[4][4] = {};
  for (int64_t k0 = 0; k0 < p.k; k0 += kDepth) {
    // Neighbouring threads read neighbouring memory, whichever way the operand lies.
    for (int i = threadIdx.x; i < kTile * kDepth; i += kThreads) {
      const int along_k = p.transpose_a ? i / kTile : i % kDepth;
      const int along_m = p.transpose_a ? i % kTile : i / kDepth;
      const int64_t row = row0 + along_m, k = k0 + along_k;
      const bool inside = row < p.m && k < p.k;
      a_tile[along_k][along_m] = inside ? a[p.transpose_a ? k * p.m + row : row * p.k + k] : 0.0f;
    }
    for (int i = threadIdx.x; i < kTile * kDepth; i += kThreads) {
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

}  // namespace

void RowGemm::run(const float* a, const float* b, float* c, const float* bias, void* stream) const {
  if (m == 0 || n == 0 || batch == 0) return;
  const Args args{.a = a,
                  .b = b,
                  .c = c,
                  .bias = bias,
                  .m = m,
                  .n = n,
                  .k = k,
                  .row_tiles = (m + kTile - 1) / kTile,
                  .column_tiles = (n + kTile - 1) / kTile,
                  .transpose_a = transpose_a,
                  .transpose_b = transpose_b,
                  .activation = activation};
  const int64_t blocks = batch * args.row_tiles * args.column_tiles;
  launch("row_gemm", tiles_kernel, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads)}, stream, args);
}

}  // namespace floe
