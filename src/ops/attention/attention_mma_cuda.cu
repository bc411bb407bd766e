// Attention on tensor cores (Dao: "FlashAttention-2", 2023): a warp owns 16 queries, keeps their outputs in
// registers and walks the keys a tile at a time; keys and values of the next tile are copied meanwhile.
// Scores are never written. Products take 2-byte operands and add in f32; probabilities are rounded before
// they meet the values, and their sum is of the unrounded ones.
//
// A key beyond `lengths` or beyond all queries of the block is never read. Inside a block of queries a value
// that is NaN or infinite also reaches the queries that do not see it (0 * NaN); their lse and all finite
// data are exact.
#include "device/cuda/launch.cuh"
#include "ops/attention/attention_mma_cuda.cuh"

namespace floe {
namespace {

template <class T>
struct MmaForward {
  AttentionProblem s;
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  T* out = nullptr;
  float* lse = nullptr;
  int tiles = 0;   // of queries
  int stages = 1;  // buffers for keys and values: one where one tile holds all keys
};

template <class T, int kD, int kWarps, int kN>
struct ForwardTraits {
  static_assert(kN <= 64, "a word holds the dropout bits of 64 keys");
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kM = 16 * kWarps;           // queries of a block
  static constexpr bool kHoldQueries = kD <= 128;  // as fragments in registers
  static constexpr int kTile = kN * kTilePitch<kD>;
  static constexpr size_t bytes(int stages) {
    return sizeof(T) * (static_cast<size_t>(kM) * kTilePitch<kD> + 2 * static_cast<size_t>(stages) * kTile);
  }
};

template <class T, int kD, int kWarps, int kN>
__global__ __launch_bounds__(32 * kWarps, 1) void mma_forward_kernel(const MmaForward<T> f) {
  using Traits = ForwardTraits<T, kD, kWarps, kN>;
  constexpr int kPitch = kTilePitch<kD>;
  const AttentionProblem& s = f.s;
  T* queries = dynamic_shared<T>();
  T* stages = queries + Traits::kM * kPitch;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int g = lane / 4, t = lane % 4;
  // The last queries see most keys: their blocks start first.
  const int tile = f.tiles - 1 - static_cast<int>(blockIdx.x) % f.tiles;
  const int head = static_cast<int>(blockIdx.x) / f.tiles;
  const int b = head / s.heads;
  const int h = head % s.heads;
  const int q0 = tile * Traits::kM;
  const int count = ::min(Traits::kM, s.queries - q0);
  const int length = s.length(b);
  const int last = s.seen(length, q0 + count - 1);
  const int key_tiles = (last + kN - 1) / kN;
  const int64_t key_head = h / s.group();
  const T* k = f.k + b * s.k.batch + key_head * s.k.head;
  const T* v = f.v + b * s.v.batch + key_head * s.v.head;
  const auto load_keys = [&](int j) {
    T* to = stages + (j % f.stages) * 2 * Traits::kTile;
    const int k0 = j * kN;
    load_tile_async<T, kD, kN, Traits::kThreads>({k + k0 * s.k.row, s.k.row, last - k0, s.width}, to);
    load_tile_async<T, kD, kN, Traits::kThreads>({v + k0 * s.v.row, s.v.row, last - k0, s.value_width},
                                                 to + Traits::kTile);
    commit_copies();
  };
  if (key_tiles > 0) {
    const T* q = f.q + b * s.q.batch + q0 * s.q.row + h * s.q.head;
    load_tile_async<T, kD, Traits::kM, Traits::kThreads>({q, s.q.row, count, s.width}, queries);
    load_keys(0);
  }

  // Rows g and g + 8 of the warp's 16.
  const int first_row = warp * 16 + g;
  int seen[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int at = first_row + 8 * r;
    seen[r] = at < count ? s.seen(length, q0 + at) : 0;
  }
  const DropoutRow dropout = DropoutRow::of(s, b, h);
  const float scale = s.scale * kLog2E;  // probabilities are powers of two
  float top[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  // of this lane's columns
  float out[kD / 8][4];
  clear(out);
  uint32_t query_fragments[Traits::kHoldQueries ? kD / 16 : 1][4];

  for (int j = 0; j < key_tiles; ++j) {
    wait_copies<0>();
    __syncthreads();  // tile j is there, and nobody reads tile j - 1 any more
    if (j + 1 < key_tiles) load_keys(j + 1);
    const T* keys = stages + (j % f.stages) * 2 * Traits::kTile;
    const T* values = keys + Traits::kTile;
    const int k0 = j * kN;
    float p[kN / 8][4];
    clear(p);
    if constexpr (Traits::kHoldQueries) {
      if (j == 0) {
        const T* at = a_address<T, kPitch>(queries + warp * 16 * kPitch);
#pragma unroll
        for (int i = 0; i < kD / 16; ++i) load_matrices(query_fragments[i], at + 16 * i);
      }
      const T* at = b_of_rows_address<T, kPitch>(keys);
#pragma unroll
      for (int i = 0; i < kD / 16; ++i) {
#pragma unroll
        for (int n = 0; n < kN; n += 16) {
          uint32_t y[4];
          load_matrices(y, at + n * kPitch + 16 * i);
          mma<T>(p[n / 8], query_fragments[i], y[0], y[1]);
          mma<T>(p[n / 8 + 1], query_fragments[i], y[2], y[3]);
        }
      }
    } else {
      multiply_by_rows<T, kD, kN>(queries + warp * 16 * kPitch, keys, p);
    }
    const bool whole = k0 + kN <= ::min(seen[0], seen[1]);
    float tile_top[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int n = 0; n < kN / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float score = p[n][e] * scale;
        p[n][e] = whole || k0 + 8 * n + 2 * t + e % 2 < seen[e / 2] ? score : -INFINITY;
        tile_top[e / 2] = fmaxf(tile_top[e / 2], p[n][e]);
      }
    }
    float shift[2], factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      tile_top[r] = fmaxf(tile_top[r], __shfl_xor_sync(0xffffffffu, tile_top[r], 1));
      tile_top[r] = fmaxf(tile_top[r], __shfl_xor_sync(0xffffffffu, tile_top[r], 2));
      const float new_top = fmaxf(top[r], tile_top[r]);
      shift[r] = new_top == -INFINITY ? 0.0f : new_top;
      factor[r] = exp2_fast(top[r] - shift[r]);
      top[r] = new_top;
      sum[r] *= factor[r];
    }
#pragma unroll
    for (int n = 0; n < kN / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        p[n][e] = exp2_fast(p[n][e] - shift[e / 2]);
        sum[e / 2] += p[n][e];
      }
    }
    if (s.drops()) {
      uint32_t kept = 0;  // four bits for each n: a loop that stays a loop keeps the kernel small
#pragma unroll 2
      for (int n = 0; n < kN / 8; ++n) kept |= kept_by_rows(s, dropout, q0 + first_row, k0 + 8 * n) << 4 * n;
#pragma unroll
      for (int n = 0; n < kN / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) p[n][e] = (kept >> (4 * n + e) & 1) != 0 ? p[n][e] : 0.0f;
      }
    }
#pragma unroll
    for (int n = 0; n < kD / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) out[n][e] *= factor[e / 2];
    }
    multiply_accumulators<T, kD, kN, kD>(p, values, out);
  }

  // Through shared memory, where the warp's own queries lay, to rows of 16-byte stores.
  T* rows = queries + warp * 16 * kPitch;
  __syncwarp();
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
    const bool nothing = sum[r] == 0;
    const float factor = s.keep_factor / sum[r];
#pragma unroll
    for (int n = 0; n < kD / 8; ++n) {
      const float x = nothing ? 0.0f : out[n][2 * r] * factor;
      const float y = nothing ? 0.0f : out[n][2 * r + 1] * factor;
      *reinterpret_cast<uint32_t*>(rows + (g + 8 * r) * kPitch + 8 * n + 2 * t) = pack_pair<T>(x, y);
    }
    const int at = first_row + 8 * r;
    if (t == 0 && at < count) {
      f.lse[static_cast<int64_t>(head) * s.queries + q0 + at] =
          nothing ? -INFINITY : top[r] * kLn2 + logf(sum[r]);
    }
  }
  __syncwarp();
  constexpr int kUnits = kD / 8;
  for (int i = lane; i < 16 * kUnits; i += 32) {
    const int r = warp * 16 + i / kUnits;
    const int c = i % kUnits * 8;
    if (r >= count || c >= s.value_width) continue;
    T* to = f.out + ((b * static_cast<int64_t>(s.queries) + q0 + r) * s.heads + h) * s.value_width + c;
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(rows + i / kUnits * kPitch + c);
  }
}

template <class T, int kD, int kWarps, int kN>
void queue(MmaForward<T> f, void* stream) {
  using Traits = ForwardTraits<T, kD, kWarps, kN>;
  f.tiles = (f.s.queries + Traits::kM - 1) / Traits::kM;
  f.stages = f.s.keys > kN ? 2 : 1;
  const int64_t blocks = static_cast<int64_t>(f.s.batch) * f.s.heads * f.tiles;
  launch("attention", mma_forward_kernel<T, kD, kWarps, kN>,
         {dim3(static_cast<unsigned>(blocks)), dim3(Traits::kThreads), Traits::bytes(f.stages)}, stream, f);
}

// Which tile: one block for a short sequence's head, no wider than it needs; for longer ones as many queries
// as share a tile of keys. How many queries share a block changes no bit, and neither does a tile of 32 keys
// where that is all there are: so padding changes none.
template <class T, int kD>
void queue_by_length(const MmaForward<T>& f, void* stream) {
  if constexpr (kD <= 64) {
    if (f.s.queries <= 32 && f.s.keys <= 32) return queue<T, kD, 2, 32>(f, stream);
    if (f.s.queries <= 32) return queue<T, kD, 2, 64>(f, stream);
  }
  if constexpr (kD <= 128) {
    if (f.s.queries <= 64) return queue<T, kD, 4, 64>(f, stream);
    queue<T, kD, 8, 64>(f, stream);
  } else {
    queue<T, kD, 4, 32>(f, stream);
  }
}

}  // namespace

template <class T>
void queue_mma_forward(const AttentionProblem& s, const AttentionPointers& data, void* stream) {
  MmaForward<T> f{s};
  f.q = static_cast<const T*>(data.q);
  f.k = static_cast<const T*>(data.k);
  f.v = static_cast<const T*>(data.v);
  f.out = static_cast<T*>(data.to_out);
  f.lse = data.to_lse;
  const int widest = s.width > s.value_width ? s.width : s.value_width;
  if (widest <= 32) return queue_by_length<T, 32>(f, stream);
  if (widest <= 64) return queue_by_length<T, 64>(f, stream);
  if (widest <= 128) return queue_by_length<T, 128>(f, stream);
  queue_by_length<T, 256>(f, stream);
}

template void queue_mma_forward<__nv_bfloat16>(const AttentionProblem&, const AttentionPointers&, void*);
template void queue_mma_forward<__half>(const AttentionProblem&, const AttentionPointers&, void*);

}  // namespace floe
