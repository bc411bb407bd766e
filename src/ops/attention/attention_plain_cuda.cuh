// Tiles of 64 queries and 64 keys in f32, by 256 threads that stand as 16 x 16: thread (ty, tx) holds rows 4
// ty + i and columns tx + 16 j of a tile of scores.
#pragma once
#include "kernel/cuda/half_types.cuh"
#include "kernel/cuda/online_softmax.cuh"
#include "kernel/cuda/philox.cuh"
#include "kernel/cuda/warp_mma.cuh"
#include "ops/attention/attention_cuda.cuh"

namespace floe {

constexpr int kPlainThreads = 256;
constexpr int kPlainTile = 64;
static_assert(kPlainTile == kBlockKeys);
constexpr int kPlainPitch = kPlainTile + 4;  // floats: rows start on different banks, and 16-byte aligned
constexpr int kPlainFloats = kPlainTile * kPlainPitch;  // of a tile

// Four neighbours as one load where `vectors` (they are aligned and all inside), else one by one and 0
// outside.
template <class T>
__device__ inline float4 load4(const T* from, int inside, bool vectors) {
  if (vectors && inside >= 4) {
    if constexpr (sizeof(T) == 4) {
      return *reinterpret_cast<const float4*>(from);
    } else {
      const uint2 bits = *reinterpret_cast<const uint2*>(from);
      const T* x = reinterpret_cast<const T*>(&bits);
      return make_float4(to_float(x[0]), to_float(x[1]), to_float(x[2]), to_float(x[3]));
    }
  }
  float4 x = make_float4(0, 0, 0, 0);
  if (inside > 0) x.x = to_float(from[0]);
  if (inside > 1) x.y = to_float(from[1]);
  if (inside > 2) x.z = to_float(from[2]);
  if (inside > 3) x.w = to_float(from[3]);
  return x;
}

// Whether rows of `layout` may be loaded four elements at a time.
template <class T>
bool loads_vectors(const void* data, const HeadsLayout& layout, int width) {
  return reinterpret_cast<uintptr_t>(data) % (4 * sizeof(T)) == 0 && layout.batch % 4 == 0 &&
         layout.row % 4 == 0 && layout.head % 4 == 0 && width % 4 == 0;
}

// to[r][c] = from[r * stride + first + c] for r < rows and first + c < width, 0 elsewhere in the tile.
template <class T>
__device__ inline void load_plain_tile(const T* from, int64_t stride, int rows, int first, int width,
                                       bool vectors, float* to) {
  for (int i = static_cast<int>(threadIdx.x); i < kPlainTile * (kPlainTile / 4); i += kPlainThreads) {
    const int r = i / (kPlainTile / 4);
    const int c = i % (kPlainTile / 4) * 4;
    const int inside = r < rows ? width - first - c : 0;
    // No address is formed outside the tensor.
    const T* at = inside > 0 ? from + r * stride + first + c : from;
    *reinterpret_cast<float4*>(to + r * kPlainPitch + c) = load4(at, inside, vectors);
  }
}

// sums[i][j] += row 4 ty + i of `a` times row tx + 16 j of `b`: one chain over the columns, in order.
__device__ inline void add_products(const float* a, const float* b, float (&sums)[4][4]) {
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll 4
  for (int d = 0; d < kPlainTile; d += 4) {
    float4 x[4], y[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[i] = *reinterpret_cast<const float4*>(a + (4 * ty + i) * kPlainPitch + d);
      y[i] = *reinterpret_cast<const float4*>(b + (tx + 16 * i) * kPlainPitch + d);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float sum = fmaf(x[i].x, y[j].x, sums[i][j]);
        sum = fmaf(x[i].y, y[j].y, sum);
        sum = fmaf(x[i].z, y[j].z, sum);
        sums[i][j] = fmaf(x[i].w, y[j].w, sum);
      }
    }
  }
}

// The logit of a query and a key that it sees, from their product; `cap` becomes its derivative by scale *
// product, where asked for.
struct LogitPlace {
  int b, h, query, key, lag;
};
__device__ inline float plain_logit(const AttentionProblem& s, float product, const LogitPlace& at,
                                    float* cap = nullptr) {
  float x = product * s.scale;
  if (cap != nullptr) *cap = 1;
  if (!s.general) return x;
  if (s.softcap > 0) {
    const float t = tanhf(x / s.softcap);
    x = t * s.softcap;
    if (cap != nullptr) *cap = fmaf(-t, t, 1.0f);
  }
  if (s.bias != nullptr) {
    x += s.bias[at.b * s.bias_batch + at.h * s.bias_head + static_cast<int64_t>(at.query) * s.keys + at.key];
  }
  if (s.slopes != nullptr)
    x = fmaf(-s.slopes[at.h], fabsf(static_cast<float>(at.query + at.lag - at.key)), x);
  return x;
}

// Rows of one operand of a product: where row 0 lies, how far apart rows are, how many there are.
template <class T>
struct PlainRows {
  const T* at;
  int64_t stride;
  int rows;
  bool vectors;
};

// sums = a b^T over `width` columns, through the tiles `to_a` and `to_b`. Starts and ends with a barrier, so
// that the tiles are free before and after.
template <class T>
__device__ inline void multiply_rows(const PlainRows<T>& a, const PlainRows<T>& b, int width, float* to_a,
                                     float* to_b, float (&sums)[4][4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) sums[i][j] = 0;
  }
  for (int first = 0; first < width; first += kPlainTile) {
    __syncthreads();
    load_plain_tile(a.at, a.stride, a.rows, first, width, a.vectors, to_a);
    load_plain_tile(b.at, b.stride, b.rows, first, width, b.vectors, to_b);
    __syncthreads();
    add_products(to_a, to_b, sums);
  }
  __syncthreads();
}

}  // namespace floe
