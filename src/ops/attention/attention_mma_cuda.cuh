// Tiles in shared memory for attention on tensor cores: rows of kD features of a 2-byte type, 16 bytes apart
// from a multiple of 128 bytes, so that ldmatrix meets no bank twice.
#pragma once
#include "kernel/cuda/philox.cuh"
#include "kernel/cuda/warp_mma.cuh"
#include "ops/attention/attention_cuda.cuh"

namespace floe {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

template <int kD>
constexpr int kTilePitch = kD + 8;  // elements

// Rows of one tensor as a tile takes them: `width` features, a multiple of 8, become kD with zeros.
template <class T>
struct TileRows {
  const T* at;  // row 0
  int64_t stride;
  int rows;  // the rest of the tile is 0
  int width;
};

// Queues the copies; commit_copies() is the caller's.
template <class T, int kD, int kRows, int kThreads>
__device__ inline void load_tile_async(const TileRows<T>& from, T* to) {
  constexpr int kUnits = kD / 8;  // of 16 bytes in a row
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kUnits; i += kThreads) {
    const int r = i / kUnits;
    const int c = i % kUnits * 8;
    const bool valid = r < from.rows && c < from.width;
    copy16_async(to + r * kTilePitch<kD> + c, valid ? from.at + r * from.stride + c : from.at, valid);
  }
}

// Where lane's row lies for the three fragments, in a tile whose row 0 and column 0 are at `tile`:
// A of 16 rows and 16 columns;
template <class T, int kPitch>
__device__ inline const T* a_address(const T* tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return tile + (lane % 16) * kPitch + lane / 16 * 8;
}
// A of the transposed tile: 16 rows of the tile are columns of A;
template <class T, int kPitch>
__device__ inline const T* a_transposed_address(const T* tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return tile + (lane % 8 + lane / 16 * 8) * kPitch + lane / 8 % 2 * 8;
}
// B of two column tiles, whose columns are 16 rows of the tile (a product with the transposed tile);
template <class T, int kPitch>
__device__ inline const T* b_of_rows_address(const T* tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return tile + (lane % 8 + lane / 16 * 8) * kPitch + lane / 8 % 2 * 8;
}
// B of two column tiles, whose columns are columns of the tile (a product with the tile, by
// load_matrices_transposed).
template <class T, int kPitch>
__device__ inline const T* b_of_columns_address(const T* tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return tile + (lane % 16) * kPitch + lane / 16 * 8;
}

template <int kCount>
__device__ inline void clear(float (&x)[kCount][4]) {
#pragma unroll
  for (int n = 0; n < kCount; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) x[n][e] = 0;
  }
}

// c[n] += a b^T for 16 rows of a tile `a` and kColumns rows of a tile `b`, over kD features.
template <class T, int kD, int kColumns>
__device__ inline void multiply_by_rows(const T* a, const T* b, float (&c)[kColumns / 8][4]) {
  const T* a_at = a_address<T, kTilePitch<kD>>(a);
  const T* b_at = b_of_rows_address<T, kTilePitch<kD>>(b);
#pragma unroll
  for (int k = 0; k < kD; k += 16) {
    uint32_t x[4];
    load_matrices(x, a_at + k);
#pragma unroll
    for (int n = 0; n < kColumns; n += 16) {
      uint32_t y[4];
      load_matrices(y, b_at + n * kTilePitch<kD> + k);
      mma<T>(c[n / 8], x, y[0], y[1]);
      mma<T>(c[n / 8 + 1], x, y[2], y[3]);
    }
  }
}

// c[n] += p b for 16 rows of accumulators `p` over kDepth columns, rounded, and kColumns columns of a tile
// `b`.
template <class T, int kD, int kDepth, int kColumns>
__device__ inline void multiply_accumulators(const float (&p)[kDepth / 8][4], const T* b,
                                             float (&c)[kColumns / 8][4]) {
  const T* b_at = b_of_columns_address<T, kTilePitch<kD>>(b);
#pragma unroll
  for (int k = 0; k < kDepth; k += 16) {
    const float(&low)[4] = p[k / 8];
    const float(&high)[4] = p[k / 8 + 1];
    const uint32_t x[4] = {pack_pair<T>(low[0], low[1]), pack_pair<T>(low[2], low[3]),
                           pack_pair<T>(high[0], high[1]), pack_pair<T>(high[2], high[3])};
#pragma unroll
    for (int n = 0; n < kColumns; n += 16) {
      uint32_t y[4];
      load_matrices_transposed(y, b_at + k * kTilePitch<kD> + n);
      mma<T>(c[n / 8], x, y[0], y[1]);
      mma<T>(c[n / 8 + 1], x, y[2], y[3]);
    }
  }
}

// Dropout of accumulators whose rows are queries and columns keys. Four neighbouring keys share a Philox
// block, so two lanes do: the even one makes row g's, the odd one row g + 8's, and they exchange halves.
struct DropoutRow {
  uint32_t seed, ordinal, head;
  __device__ static DropoutRow of(const AttentionProblem& s, int b, int h) {
    if (!s.drops()) return {0, 0, 0};
    return {static_cast<uint32_t>(*s.seed), static_cast<uint32_t>(s.ordinals[b]), static_cast<uint32_t>(h)};
  }
};
// Bit e of the result: element e of the accumulator of 8 keys from `key` is kept. `query`: of row g.
__device__ inline uint32_t kept_by_rows(const AttentionProblem& s, const DropoutRow& row, int query,
                                        int key) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool odd = lane % 2 == 1;
  const uint32_t block = static_cast<uint32_t>(key + lane % 4 / 2 * 4) / 4;
  const uint32_t mine = static_cast<uint32_t>(query + (odd ? 8 : 0));
  const uint4 words = philox_block(make_uint4(block, mine, row.ordinal, row.head), row.seed, s.op_id);
  // The even lane holds keys 0 and 1 of the four, the odd one 2 and 3.
  const uint32_t other0 = __shfl_xor_sync(0xffffffffu, odd ? words.x : words.z, 1);
  const uint32_t other1 = __shfl_xor_sync(0xffffffffu, odd ? words.y : words.w, 1);
  const uint32_t low0 = odd ? other0 : words.x, low1 = odd ? other1 : words.y;    // row g
  const uint32_t high0 = odd ? words.z : other0, high1 = odd ? words.w : other1;  // row g + 8
  return (s.kept(low0) ? 1u : 0u) | (s.kept(low1) ? 2u : 0u) | (s.kept(high0) ? 4u : 0u) |
         (s.kept(high1) ? 8u : 0u);
}
// The same of accumulators whose rows are keys and columns queries. The four lanes whose rows are four
// neighbouring keys share the blocks of two queries and of rows g and g + 8: each makes one and they exchange
// words. `key`: of row 0; `query`: of column 0.
__device__ inline uint32_t kept_by_columns(const AttentionProblem& s, const DropoutRow& row, int query,
                                           int key) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4, t = lane % 4, mine = g % 4;
  const uint32_t block = static_cast<uint32_t>(key + (g & 4) + (mine & 2) * 4) / 4;
  const uint32_t at = static_cast<uint32_t>(query + 2 * t + (mine & 1));
  const uint4 words = philox_block(make_uint4(block, at, row.ordinal, row.head), row.seed, s.op_id);
  const auto word = [&](int i) {
    return i == 0 ? words.x : (i == 1 ? words.y : (i == 2 ? words.z : words.w));
  };
  uint32_t bits = s.kept(word(mine)) ? 1u << mine : 0u;
#pragma unroll
  for (int step = 1; step < 4; ++step) {
    // My word for lane `mine ^ step` of the four, against its word for me.
    const uint32_t theirs = __shfl_xor_sync(0xffffffffu, word(mine ^ step), 4 * step);
    if (s.kept(theirs)) bits |= 1u << (mine ^ step);
  }
  return bits;
}

}  // namespace floe
