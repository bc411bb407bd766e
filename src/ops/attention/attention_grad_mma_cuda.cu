// The gradient of attention on tensor cores (Dao: "FlashAttention-2", 2023), without atomics. Probabilities
// are computed again from lse:
//   p = exp(scale * q k^T - lse), m = mask / (1 - rate), delta = sum(dout * out)
//   dv = (p m)^T dout,  ds = p * (m * dout v^T - delta),  dk = scale * ds^T q,  dq = scale * ds k
//
// The keys' kernel owns 16 keys a warp and walks queries. It holds scores transposed, keys as rows, so that
// p^T and ds^T are A fragments as they come. Where a block holds all keys of a head it gives dq too, from ds
// through shared memory, and is all there is; else the queries' kernel runs first, gives dq and leaves delta
// behind. All sums go 16 queries or keys at a time in order, whatever the tiles: padding and tiles change no
// bit.
//
// Beyond `lengths` nothing is read. Inside a tile a NaN or infinity in q, k or dout also reaches what does
// not see it (0 * NaN), except that gradients of rows without keys, and of keys beyond `lengths`, are 0.
#include "device/cuda/launch.cuh"
#include "ops/attention/attention_mma_cuda.cuh"

namespace floe {
namespace {

template <class T>
struct MmaGrad {
  AttentionProblem s;
  const T *q = nullptr, *k = nullptr, *v = nullptr, *out = nullptr, *dout = nullptr;
  const float* lse = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;
  float* delta = nullptr;  // [batch, head, query], from the queries' kernel to the keys'
  int tiles = 0;           // of what a block owns
  int stages = 1;

  __device__ int64_t out_at(int b, int query, int h) const {
    return ((b * static_cast<int64_t>(s.queries) + query) * s.heads + h) * s.value_width;
  }
  __device__ int64_t lse_at(int b, int query, int h) const {
    return (b * static_cast<int64_t>(s.heads) + h) * s.queries + query;
  }
  __device__ TileRows<T> query_rows(int b, int query, int h, int count) const {
    return {q + b * s.q.batch + query * s.q.row + h * s.q.head, s.q.row, count, s.width};
  }
  __device__ TileRows<T> dout_rows(int b, int query, int h, int count) const {
    return {dout + out_at(b, query, h), static_cast<int64_t>(s.heads) * s.value_width, count, s.value_width};
  }
  __device__ TileRows<T> key_rows(int b, int key, int key_head, int count) const {
    return {k + b * s.k.batch + key * s.k.row + key_head * s.k.head, s.k.row, count, s.width};
  }
  __device__ TileRows<T> value_rows(int b, int key, int key_head, int count) const {
    return {v + b * s.v.batch + key * s.v.row + key_head * s.v.head, s.v.row, count, s.value_width};
  }
};

// sum(dout * out) of one row, by eight neighbouring lanes, which all get it. `out` null: 0.
template <class T>
__device__ float delta_of(const T* out, const T* dout, int width) {
  float sum = 0;
  if (out != nullptr) {
    for (int c = static_cast<int>(threadIdx.x) % 8 * 8; c < width; c += 64) {
      float x[8], y[8];
      unpack16<T>(*reinterpret_cast<const uint4*>(out + c), x);
      unpack16<T>(*reinterpret_cast<const uint4*>(dout + c), y);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum = fmaf(x[i], y[i], sum);
    }
  }
#pragma unroll
  for (int step = 1; step < 8; step *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  return sum;
}

// What is subtracted from scores in powers of two; a row without probabilities gets exp2(-inf) = 0 from it.
__device__ inline float lse_in_twos(float lse) { return lse == -INFINITY ? INFINITY : lse * kLog2E; }

template <class T, int kD, int kWarps, int kM, bool kFused>
struct KeysTraits {
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kN = 16 * kWarps;                // keys of a block
  static constexpr int kColumns = kD < 128 ? kD : 128;  // of dk and dv in a block: 2 x 64 registers hold 128
  static constexpr int kParts = kD / kColumns;
  static constexpr int kDsPitch = kM + 8;
  static constexpr int kRowGroups = kM / 16;  // dq: a warp takes 16 queries and a part of the columns
  static constexpr int kDqColumns = kFused ? kD / (kWarps / kRowGroups) : 16;
  static constexpr int kDqChunk =
      kD > 64 || kDqColumns < 32 ? 16 : 32;  // at a time: dk and dv hold registers
  static_assert(kDqColumns % kDqChunk == 0);
  static_assert(!kFused || (kWarps % kRowGroups == 0 && kDqColumns % 16 == 0), "warps share dq evenly");
  static_assert(!kFused || kParts == 1, "dq needs whole rows of keys once");
  static_assert(kM <= 64, "a word holds the dropout bits of 64 queries");
  static constexpr size_t bytes(int stages) {
    return sizeof(T) *
               (2 * static_cast<size_t>(kN) * kTilePitch<kD> +
                2 * static_cast<size_t>(stages) * kM * kTilePitch<kD> + (kFused ? kN * kDsPitch : 0)) +
           sizeof(float) * 2 * kM;
  }
};

template <class T, int kD, int kWarps, int kM, bool kFused>
__global__ __launch_bounds__(32 * kWarps, 1) void mma_grad_keys_kernel(const MmaGrad<T> f) {
  using Traits = KeysTraits<T, kD, kWarps, kM, kFused>;
  constexpr int kPitch = kTilePitch<kD>;
  constexpr int kN = Traits::kN;
  constexpr int kColumns = Traits::kColumns;
  const AttentionProblem& s = f.s;
  T* keys = dynamic_shared<T>();
  T* values = keys + kN * kPitch;
  T* stages = values + kN * kPitch;
  T* gradients = stages + f.stages * 2 * kM * kPitch;  // ds^T, where dq is made of it
  float* row_lse = reinterpret_cast<float*>(gradients + (kFused ? kN * Traits::kDsPitch : 0));
  float* row_delta = row_lse + kM;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int g = lane / 4, t = lane % 4;
  const int column = static_cast<int>(blockIdx.x) % Traits::kParts * kColumns;
  const int k0 = static_cast<int>(blockIdx.x) / Traits::kParts % f.tiles * kN;
  const int row = static_cast<int>(blockIdx.x) / Traits::kParts / f.tiles;
  const int b = row / s.key_heads;
  const int key_head = row % s.key_heads;
  const int length = s.length(b);
  const float scale = s.scale * kLog2E;

  // The query tiles of all heads of the group, from the first that sees a key of this block.
  const int query_tiles = (s.queries + kM - 1) / kM;
  const int first_tile = kFused ? 0 : ::max(0, k0 - s.diagonal) / kM;
  const int walk = kFused || k0 < length ? ::max(0, query_tiles - first_tile) : 0;
  const int items = walk * s.group();
  const auto load_item = [&](int item) {
    const int h = key_head * s.group() + item / walk;
    const int q0 = (first_tile + item % walk) * kM;
    const int count = ::min(kM, s.queries - q0);
    T* to = stages + item % f.stages * 2 * kM * kPitch;
    load_tile_async<T, kD, kM, Traits::kThreads>(f.query_rows(b, q0, h, count), to);
    load_tile_async<T, kD, kM, Traits::kThreads>(f.dout_rows(b, q0, h, count), to + kM * kPitch);
    commit_copies();
  };
  if (items > 0) {
    load_tile_async<T, kD, kN, Traits::kThreads>(f.key_rows(b, k0, key_head, length - k0), keys);
    load_tile_async<T, kD, kN, Traits::kThreads>(f.value_rows(b, k0, key_head, length - k0), values);
    load_item(0);
  }
  float dk[kColumns / 8][4], dv[kColumns / 8][4];
  clear(dk);
  clear(dv);

  for (int item = 0; item < items; ++item) {
    wait_copies<0>();
    __syncthreads();  // the item is there, and nobody reads the one before any more
    if (item + 1 < items) load_item(item + 1);
    const int h = key_head * s.group() + item / walk;
    const int q0 = (first_tile + item % walk) * kM;
    const int count = ::min(kM, s.queries - q0);
    const T* queries = stages + item % f.stages * 2 * kM * kPitch;
    const T* douts = queries + kM * kPitch;
    for (int r = static_cast<int>(threadIdx.x); r < kM; r += Traits::kThreads) {
      row_lse[r] = r < count ? lse_in_twos(f.lse[f.lse_at(b, q0 + r, h)]) : INFINITY;
      if constexpr (!kFused) row_delta[r] = r < count ? f.delta[f.lse_at(b, q0 + r, h)] : 0.0f;
    }
    if constexpr (kFused) {
      static_assert(kM % (Traits::kThreads / 8) == 0, "all lanes take part in every row");
      for (int r = static_cast<int>(threadIdx.x) / 8; r < kM; r += Traits::kThreads / 8) {
        const float delta =
            delta_of(r < count ? f.out + f.out_at(b, q0 + r, h) : nullptr, douts + r * kPitch, s.value_width);
        if (threadIdx.x % 8 == 0) row_delta[r] = delta;
      }
    }
    float p[kM / 8][4], ds[kM / 8][4];  // transposed: rows are keys, columns queries
    clear(p);
    clear(ds);
    multiply_by_rows<T, kD, kM>(keys + warp * 16 * kPitch, queries, p);
    multiply_by_rows<T, kD, kM>(values + warp * 16 * kPitch, douts, ds);
    uint32_t kept[kM / 32] = {};  // four bits for each n
    static_assert(kM % 32 == 0);
    if (s.drops()) {
      const DropoutRow dropout = DropoutRow::of(s, b, h);
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < kM / 32; ++i) {
          kept[i] |= kept_by_columns(s, dropout, q0 + 32 * i + 8 * n, k0 + warp * 16) << 4 * n;
        }
      }
    }
    __syncthreads();  // row_lse and row_delta are there
    const bool whole = count == kM && k0 + kN <= ::min(length, q0 + 1 + s.diagonal);
#pragma unroll
    for (int n = 0; n < kM / 8; ++n) {
      const float2 lse = *reinterpret_cast<const float2*>(row_lse + 8 * n + 2 * t);
      const float2 delta = *reinterpret_cast<const float2*>(row_delta + 8 * n + 2 * t);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int query = 8 * n + 2 * t + e % 2;
        const int key = k0 + warp * 16 + g + e / 2 * 8;
        const bool visible = whole || (query < count && key < s.seen(length, q0 + query));
        const float x = visible ? exp2_fast(p[n][e] * scale - (e % 2 == 0 ? lse.x : lse.y)) : 0.0f;
        float d = ds[n][e];
        p[n][e] = x;
        if (s.drops()) {
          const bool keep = (kept[n / 4] >> (4 * (n % 4) + e) & 1) != 0;
          d = keep ? d * s.keep_factor : 0.0f;
          p[n][e] = keep ? x : 0.0f;
        }
        ds[n][e] = visible ? x * (d - (e % 2 == 0 ? delta.x : delta.y)) : 0.0f;
      }
    }
    multiply_accumulators<T, kD, kM, kColumns>(p, douts + column, dv);
    multiply_accumulators<T, kD, kM, kColumns>(ds, queries + column, dk);
    if constexpr (kFused) {
#pragma unroll
      for (int n = 0; n < kM / 8; ++n) {
        T* at = gradients + (warp * 16 + g) * Traits::kDsPitch + 8 * n + 2 * t;
        *reinterpret_cast<uint32_t*>(at) = pack_pair<T>(ds[n][0], ds[n][1]);
        *reinterpret_cast<uint32_t*>(at + 8 * Traits::kDsPitch) = pack_pair<T>(ds[n][2], ds[n][3]);
      }
      __syncthreads();
      const int group = warp % Traits::kRowGroups;
      const T* a_at = a_transposed_address<T, Traits::kDsPitch>(gradients + 16 * group);
      constexpr int kDqColumns = Traits::kDqColumns;
#pragma unroll 1
      for (int part = 0; part < kDqColumns; part += Traits::kDqChunk) {
        const int dq_column = warp / Traits::kRowGroups * kDqColumns + part;
        const T* b_at = b_of_columns_address<T, kPitch>(keys + dq_column);
        float dq[Traits::kDqChunk / 8][4];
        clear(dq);
#pragma unroll
        for (int k = 0; k < kN; k += 16) {
          uint32_t x[4];
          load_matrices_transposed(x, a_at + k * Traits::kDsPitch);
#pragma unroll
          for (int n = 0; n < Traits::kDqChunk; n += 16) {
            uint32_t y[4];
            load_matrices_transposed(y, b_at + k * kPitch + n);
            mma<T>(dq[n / 8], x, y[0], y[1]);
            mma<T>(dq[n / 8 + 1], x, y[2], y[3]);
          }
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int at = 16 * group + g + 8 * r;
          if (at >= count) continue;
          const bool sees = s.seen(length, q0 + at) > 0;
          T* to = f.dq + b * s.dq.batch + (q0 + at) * s.dq.row + h * s.dq.head;
#pragma unroll
          for (int n = 0; n < Traits::kDqChunk / 8; ++n) {
            const int c = dq_column + 8 * n + 2 * t;
            if (c >= s.width) continue;
            *reinterpret_cast<uint32_t*>(to + c) =
                pack_pair<T>(sees ? dq[n][2 * r] * s.scale : 0.0f, sees ? dq[n][2 * r + 1] * s.scale : 0.0f);
          }
        }
      }
    }
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int key = k0 + warp * 16 + g + 8 * r;
    if (key >= s.keys) continue;
    const bool exists = key < length;
    T* to_dk = f.dk + b * s.dk.batch + key * s.dk.row + key_head * s.dk.head;
    T* to_dv = f.dv + b * s.dv.batch + key * s.dv.row + key_head * s.dv.head;
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      const int c = column + 8 * n + 2 * t;
      if (c < s.width) {
        *reinterpret_cast<uint32_t*>(to_dk + c) =
            pack_pair<T>(exists ? dk[n][2 * r] * s.scale : 0.0f, exists ? dk[n][2 * r + 1] * s.scale : 0.0f);
      }
      if (c < s.value_width) {
        *reinterpret_cast<uint32_t*>(to_dv + c) = pack_pair<T>(
            exists ? dv[n][2 * r] * s.keep_factor : 0.0f, exists ? dv[n][2 * r + 1] * s.keep_factor : 0.0f);
      }
    }
  }
}

template <class T, int kD, int kWarps, int kN>
struct QueriesTraits {
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kM = 16 * kWarps;
  static_assert(kN <= 64, "a word holds the dropout bits of 64 keys");
  static constexpr size_t bytes(int stages) {
    return sizeof(T) * (2 * static_cast<size_t>(kM) + 2 * static_cast<size_t>(stages) * kN) * kTilePitch<kD>;
  }
};

template <class T, int kD, int kWarps, int kN>
__global__ __launch_bounds__(32 * kWarps, 1) void mma_grad_queries_kernel(const MmaGrad<T> f) {
  using Traits = QueriesTraits<T, kD, kWarps, kN>;
  constexpr int kPitch = kTilePitch<kD>;
  const AttentionProblem& s = f.s;
  T* queries = dynamic_shared<T>();
  T* douts = queries + Traits::kM * kPitch;
  T* stages = douts + Traits::kM * kPitch;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int g = lane / 4, t = lane % 4;
  const int tile = f.tiles - 1 - static_cast<int>(blockIdx.x) % f.tiles;
  const int head = static_cast<int>(blockIdx.x) / f.tiles;
  const int b = head / s.heads;
  const int h = head % s.heads;
  const int key_head = h / s.group();
  const int q0 = tile * Traits::kM;
  const int count = ::min(Traits::kM, s.queries - q0);
  const int length = s.length(b);
  const int last = s.seen(length, q0 + count - 1);
  const int key_tiles = (last + kN - 1) / kN;
  const float scale = s.scale * kLog2E;
  const auto load_keys = [&](int j) {
    T* to = stages + j % f.stages * 2 * kN * kPitch;
    load_tile_async<T, kD, kN, Traits::kThreads>(f.key_rows(b, j * kN, key_head, last - j * kN), to);
    load_tile_async<T, kD, kN, Traits::kThreads>(f.value_rows(b, j * kN, key_head, last - j * kN),
                                                 to + kN * kPitch);
    commit_copies();
  };
  load_tile_async<T, kD, Traits::kM, Traits::kThreads>(f.query_rows(b, q0, h, count), queries);
  load_tile_async<T, kD, Traits::kM, Traits::kThreads>(f.dout_rows(b, q0, h, count), douts);
  commit_copies();
  if (key_tiles > 0) load_keys(0);
  wait_copies<0>();
  __syncthreads();

  // delta of the warp's rows, four at a time; row g's and row g + 8's stay with the lanes that hold these
  // rows.
  float delta[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = 4 * i + lane / 8;
    const int at = warp * 16 + r;
    const float x =
        delta_of(at < count ? f.out + f.out_at(b, q0 + at, h) : nullptr, douts + at * kPitch, s.value_width);
    if (lane % 8 == 0 && at < count) f.delta[f.lse_at(b, q0 + at, h)] = x;
    const float low = __shfl_sync(0xffffffffu, x, g % 4 * 8);
    if (g / 4 == i) delta[0] = low;
    if (g / 4 + 2 == i) delta[1] = low;
  }
  const int first_row = warp * 16 + g;
  int seen[2];
  float lse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int at = first_row + 8 * r;
    seen[r] = at < count ? s.seen(length, q0 + at) : 0;
    lse[r] = at < count ? lse_in_twos(f.lse[f.lse_at(b, q0 + at, h)]) : INFINITY;
  }
  const DropoutRow dropout = DropoutRow::of(s, b, h);
  float dq[kD / 8][4];
  clear(dq);
  for (int j = 0; j < key_tiles; ++j) {
    wait_copies<0>();
    __syncthreads();
    if (j + 1 < key_tiles) load_keys(j + 1);
    const T* keys = stages + j % f.stages * 2 * kN * kPitch;
    const T* values = keys + kN * kPitch;
    const int k0 = j * kN;
    float p[kN / 8][4], ds[kN / 8][4];
    clear(p);
    clear(ds);
    multiply_by_rows<T, kD, kN>(queries + warp * 16 * kPitch, keys, p);
    multiply_by_rows<T, kD, kN>(douts + warp * 16 * kPitch, values, ds);
    uint32_t kept = 0;
    if (s.drops()) {
#pragma unroll 2
      for (int n = 0; n < kN / 8; ++n) kept |= kept_by_rows(s, dropout, q0 + first_row, k0 + 8 * n) << 4 * n;
    }
    const bool whole = k0 + kN <= ::min(seen[0], seen[1]);
#pragma unroll
    for (int n = 0; n < kN / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool visible = whole || k0 + 8 * n + 2 * t + e % 2 < seen[e / 2];
        const float x = visible ? exp2_fast(p[n][e] * scale - lse[e / 2]) : 0.0f;
        float d = ds[n][e];
        if (s.drops()) d = (kept >> (4 * n + e) & 1) != 0 ? d * s.keep_factor : 0.0f;
        ds[n][e] = visible ? x * (d - delta[e / 2]) : 0.0f;
      }
    }
    multiply_accumulators<T, kD, kN, kD>(ds, keys, dq);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int at = first_row + 8 * r;
    if (at >= count) continue;
    T* to = f.dq + b * s.dq.batch + (q0 + at) * s.dq.row + h * s.dq.head;
#pragma unroll
    for (int n = 0; n < kD / 8; ++n) {
      const int c = 8 * n + 2 * t;
      if (c >= s.width) continue;
      const bool sees = seen[r] > 0;
      *reinterpret_cast<uint32_t*>(to + c) =
          pack_pair<T>(sees ? dq[n][2 * r] * s.scale : 0.0f, sees ? dq[n][2 * r + 1] * s.scale : 0.0f);
    }
  }
}

template <class T, int kD, int kWarps, int kM, bool kFused>
void queue_keys(MmaGrad<T> f, void* stream) {
  using Traits = KeysTraits<T, kD, kWarps, kM, kFused>;
  // Without keys there is one tile all the same where dq is made, of zeros.
  f.tiles = (f.s.keys + Traits::kN - 1) / Traits::kN;
  if (kFused && f.tiles == 0) f.tiles = 1;
  f.stages = f.s.queries > kM || f.s.group() > 1 ? 2 : 1;
  const int64_t blocks = static_cast<int64_t>(f.s.batch) * f.s.key_heads * f.tiles * Traits::kParts;
  launch("attention_grad (keys)", mma_grad_keys_kernel<T, kD, kWarps, kM, kFused>,
         {dim3(static_cast<unsigned>(blocks)), dim3(Traits::kThreads), Traits::bytes(f.stages)}, stream, f);
}

template <class T, int kD, int kWarps, int kN>
void queue_queries(MmaGrad<T> f, void* stream) {
  using Traits = QueriesTraits<T, kD, kWarps, kN>;
  f.tiles = (f.s.queries + Traits::kM - 1) / Traits::kM;
  f.stages = f.s.keys > kN ? 2 : 1;
  const int64_t blocks = static_cast<int64_t>(f.s.batch) * f.s.heads * f.tiles;
  launch("attention_grad (queries)", mma_grad_queries_kernel<T, kD, kWarps, kN>,
         {dim3(static_cast<unsigned>(blocks)), dim3(Traits::kThreads), Traits::bytes(f.stages)}, stream, f);
}

// One kernel where a block holds all keys of a head, else two.
template <class T, int kD>
void queue_by_length(const MmaGrad<T>& f, void* stream) {
  if constexpr (kD <= 64) {
    if (f.s.keys <= 32) return queue_keys<T, kD, 2, 32, true>(f, stream);
    if (f.s.keys <= 64) return queue_keys<T, kD, 4, 64, true>(f, stream);
    if (f.s.keys <= 128) return queue_keys < T, kD, 8, kD == 64 ? 32 : 64, true > (f, stream);
    queue_queries<T, kD, 4, 64>(f, stream);
    queue_keys<T, kD, 4, 64, false>(f, stream);
  } else if constexpr (kD == 128) {
    if (f.s.keys <= 64) return queue_keys<T, kD, 4, 32, true>(f, stream);
    if (f.s.keys <= 128) return queue_keys<T, kD, 8, 32, true>(f, stream);
    queue_queries<T, kD, 4, 64>(f, stream);
    queue_keys<T, kD, 4, 32, false>(f, stream);
  } else {
    queue_queries<T, kD, 4, 32>(f, stream);
    queue_keys<T, kD, 4, 32, false>(f, stream);
  }
}

}  // namespace

template <class T>
void queue_mma_grad(const AttentionProblem& s, const AttentionPointers& data, void* stream) {
  MmaGrad<T> f{s};
  set_gradient_pointers<T>(data, &f);
  f.delta = data.workspace;
  const int widest = s.width > s.value_width ? s.width : s.value_width;
  if (widest <= 32) return queue_by_length<T, 32>(f, stream);
  if (widest <= 64) return queue_by_length<T, 64>(f, stream);
  if (widest <= 128) return queue_by_length<T, 128>(f, stream);
  queue_by_length<T, 256>(f, stream);
}

template void queue_mma_grad<__nv_bfloat16>(const AttentionProblem&, const AttentionPointers&, void*);
template void queue_mma_grad<__half>(const AttentionProblem&, const AttentionPointers&, void*);

}  // namespace floe
