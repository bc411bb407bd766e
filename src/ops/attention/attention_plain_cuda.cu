// Attention in f32 arithmetic, and its probabilities alone: any storage type, head size and alignment. A
// block takes 64 queries of a head and up to 128 value features; it walks the keys 64 at a time, so no more
// than 64 x 64 scores exist at once. Bits are those of paged attention (kernel/cuda/online_softmax.cuh).
#include "device/cuda/launch.cuh"
#include "ops/attention/attention_plain_cuda.cuh"

namespace floe {
namespace {

template <class T>
struct PlainForward {
  AttentionProblem s;
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  T* out = nullptr;
  float* lse = nullptr;
  bool q_vectors = false, k_vectors = false, v_vectors = false;
  int tiles = 0, parts = 1;  // of the queries, of the value features
};

// The lanes that share a row are neighbours of 16.
__device__ float row_max(float x) {
#pragma unroll
  for (int step = 8; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  return x;
}
__device__ float row_sum(float x) {
#pragma unroll
  for (int step = 8; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

// Zeroes the dropped probabilities of a tile: queries from q0, keys from k0.
__device__ void drop_tile(const AttentionProblem& s, int b, int h, int q0, int k0, float* p) {
  const uint32_t seed = static_cast<uint32_t>(*s.seed);
  const uint32_t ordinal = static_cast<uint32_t>(s.ordinals[b]);
  for (int i = static_cast<int>(threadIdx.x); i < kPlainTile * kPlainTile / 4; i += kPlainThreads) {
    const int r = i / (kPlainTile / 4);
    const int group = i % (kPlainTile / 4);
    const uint4 words =
        philox_block(make_uint4(static_cast<uint32_t>(k0 / 4 + group), static_cast<uint32_t>(q0 + r), ordinal,
                                static_cast<uint32_t>(h)),
                     seed, s.op_id);
    float4* at = reinterpret_cast<float4*>(p + r * kPlainPitch + 4 * group);
    float4 x = *at;
    if (!s.kept(words.x)) x.x = 0;
    if (!s.kept(words.y)) x.y = 0;
    if (!s.kept(words.z)) x.z = 0;
    if (!s.kept(words.w)) x.w = 0;
    *at = x;
  }
}

template <class T, int kPart>  // value features of a block
__global__ __launch_bounds__(kPlainThreads, 1) void plain_forward_kernel(const PlainForward<T> f) {
  constexpr int kQuads = kPart / 64;  // of features a thread holds: 4 tx + 64 c ..
  constexpr int kValuePitch = kPart + 4;
  const AttentionProblem& s = f.s;
  float* queries = dynamic_shared<float>();
  float* probabilities = queries + kPlainFloats;
  float* keys = probabilities + kPlainFloats;  // and then the values
  float* values = keys;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int part = static_cast<int>(blockIdx.x) % f.parts;
  const int tile = static_cast<int>(blockIdx.x) / f.parts % f.tiles;
  const int row = static_cast<int>(blockIdx.x) / f.parts / f.tiles;
  const int b = row / s.heads;
  const int h = row % s.heads;
  const int q0 = tile * kPlainTile;
  const int count = ::min(kPlainTile, s.queries - q0);
  const int feature = part * kPart;
  const int64_t key_head = h / s.group();
  const T* q = f.q + b * s.q.batch + q0 * s.q.row + h * s.q.head;
  const T* k = f.k + b * s.k.batch + key_head * s.k.head;
  const T* v = f.v + b * s.v.batch + key_head * s.v.head;
  const AttentionProblem::Row b_row = s.row(b);
  const int live = ::min(count, b_row.queries - q0);
  const int last = live > 0 ? s.end(b_row, q0 + live - 1) : 0;
  const int from = s.begin(b_row, q0) / kBlockKeys * kBlockKeys;

  RowState state[4];
  int row_begin[4], row_seen[4];
  float out[4][kQuads][4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    row_seen[i] = 4 * ty + i < live ? s.end(b_row, q0 + 4 * ty + i) : 0;
    row_begin[i] = 4 * ty + i < live ? s.begin(b_row, q0 + 4 * ty + i) : 0;
#pragma unroll
    for (int c = 0; c < kQuads; ++c) {
#pragma unroll
      for (int e = 0; e < 4; ++e) out[i][c][e] = 0;
    }
  }
  for (int k0 = from; k0 < last; k0 += kBlockKeys) {
    const int here = ::min(kBlockKeys, last - k0);
    float scores[4][4];
    multiply_rows<T>({q, s.q.row, count, f.q_vectors}, {k + k0 * s.k.row, s.k.row, here, f.k_vectors},
                     s.width, queries, keys, scores);
    RowState block[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int key = k0 + tx + 16 * j;
        scores[i][j] = key >= row_begin[i] && key < row_seen[i]
                           ? plain_logit(s, scores[i][j], {b, h, q0 + 4 * ty + i, key, b_row.lag})
                           : -INFINITY;
      }
      block[i].top = row_max(fmaxf(fmaxf(scores[i][0], scores[i][1]), fmaxf(scores[i][2], scores[i][3])));
      const float shift = block_shift(block[i].top);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        scores[i][j] = expf(scores[i][j] - shift);
        probabilities[(4 * ty + i) * kPlainPitch + tx + 16 * j] = scores[i][j];
      }
      block[i].sum = row_sum((scores[i][0] + scores[i][2]) + (scores[i][1] + scores[i][3]));
    }
    for (int i = static_cast<int>(threadIdx.x); i < kBlockKeys * (kPart / 4); i += kPlainThreads) {
      const int r = i / (kPart / 4);
      const int c = i % (kPart / 4) * 4;
      const int inside = r < here ? s.value_width - feature - c : 0;
      const T* at = inside > 0 ? v + (k0 + r) * s.v.row + feature + c : v;
      *reinterpret_cast<float4*>(values + r * kValuePitch + c) = load4(at, inside, f.v_vectors);
    }
    __syncthreads();
    if (s.drops()) {
      drop_tile(s, b, h, q0, k0, probabilities);
      __syncthreads();
    }
    float part_out[4][kQuads][4] = {};
    for (int j = 0; j < here; ++j) {
      float4 x[kQuads];
#pragma unroll
      for (int c = 0; c < kQuads; ++c) {
        x[c] = *reinterpret_cast<const float4*>(values + j * kValuePitch + 4 * tx + 64 * c);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // A key that a query does not see must not reach it even as 0 * NaN.
        if (k0 + j >= row_seen[i] || k0 + j < row_begin[i]) continue;
        const float p = probabilities[(4 * ty + i) * kPlainPitch + j];
#pragma unroll
        for (int c = 0; c < kQuads; ++c) {
          part_out[i][c][0] = fmaf(p, x[c].x, part_out[i][c][0]);
          part_out[i][c][1] = fmaf(p, x[c].y, part_out[i][c][1]);
          part_out[i][c][2] = fmaf(p, x[c].z, part_out[i][c][2]);
          part_out[i][c][3] = fmaf(p, x[c].w, part_out[i][c][3]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const FoldFactors factors = fold(&state[i], block[i]);
#pragma unroll
      for (int c = 0; c < kQuads; ++c) {
#pragma unroll
        for (int e = 0; e < 4; ++e) out[i][c][e] = fold_output(factors, out[i][c][e], part_out[i][c][e]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = 4 * ty + i;
    if (r >= count) continue;
    const float factor = last_factor(state[i], s.keep_factor);
    const int64_t query = q0 + r;
    T* to = f.out + ((b * static_cast<int64_t>(s.queries) + query) * s.heads + h) * s.value_width;
#pragma unroll
    for (int c = 0; c < kQuads; ++c) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int at = feature + 4 * tx + 64 * c + e;
        // A row whose sum is 0 is 0 even where an output is NaN (0 times an infinite value).
        if (at < s.value_width) to[at] = from_float<T>(factor == 0 ? 0.0f : out[i][c][e] * factor);
      }
    }
    if (part == 0 && tx == 0) {
      f.lse[(b * static_cast<int64_t>(s.heads) + h) * s.queries + query] = log_sum_exp(state[i]);
    }
  }
}

// Scores go to their place in the output, which each block then turns into probabilities row by row.
template <class T>
__global__ __launch_bounds__(kPlainThreads, 1) void plain_weights_kernel(const PlainForward<T> f,
                                                                         float* weights) {
  const AttentionProblem& s = f.s;
  float* queries = dynamic_shared<float>();
  float* keys = queries + kPlainFloats;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int tile = static_cast<int>(blockIdx.x) % f.tiles;
  const int row = static_cast<int>(blockIdx.x) / f.tiles;
  const int b = row / s.heads;
  const int h = row % s.heads;
  const int q0 = tile * kPlainTile;
  const int count = ::min(kPlainTile, s.queries - q0);
  const T* q = f.q + b * s.q.batch + q0 * s.q.row + h * s.q.head;
  const T* k = f.k + b * s.k.batch + h / s.group() * s.k.head;
  weights += (static_cast<int64_t>(row) * s.queries + q0) * s.keys;
  const int length = s.length(b);
  const int last = s.seen(length, q0 + count - 1);
  for (int k0 = 0; k0 < last; k0 += kBlockKeys) {
    const int here = ::min(kBlockKeys, last - k0);
    float scores[4][4];
    multiply_rows<T>({q, s.q.row, count, f.q_vectors}, {k + k0 * s.k.row, s.k.row, here, f.k_vectors},
                     s.width, queries, keys, scores);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int r = 4 * ty + i, c = tx + 16 * j;
        if (r < count && c < here)
          weights[static_cast<int64_t>(r) * s.keys + k0 + c] = scores[i][j] * s.scale;
      }
    }
  }
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int r = static_cast<int>(threadIdx.x) / 32; r < count; r += kPlainThreads / 32) {
    float* at = weights + static_cast<int64_t>(r) * s.keys;
    const int seen = s.seen(length, q0 + r);
    float top = -INFINITY;
    for (int j = lane; j < seen; j += 32) top = fmaxf(top, at[j]);
    for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
    const float shift = block_shift(top);
    float sum = 0;
    for (int j = lane; j < seen; j += 32) {
      at[j] = expf(at[j] - shift);
      sum += at[j];
    }
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    for (int j = lane; j < s.keys; j += 32) at[j] = j < seen && sum != 0 ? at[j] / sum : 0.0f;
  }
}

template <class T>
PlainForward<T> plain_forward(const AttentionProblem& s, const AttentionPointers& data) {
  PlainForward<T> f{s};
  f.q = static_cast<const T*>(data.q);
  f.k = static_cast<const T*>(data.k);
  f.v = static_cast<const T*>(data.v);
  f.out = static_cast<T*>(data.to_out);
  f.lse = data.to_lse;
  f.q_vectors = loads_vectors<T>(data.q, s.q, s.width);
  f.k_vectors = loads_vectors<T>(data.k, s.k, s.width);
  f.v_vectors = loads_vectors<T>(data.v, s.v, s.value_width);
  f.tiles = (s.queries + kPlainTile - 1) / kPlainTile;
  return f;
}

}  // namespace

template <class T>
void queue_plain_forward(const AttentionProblem& problem, const AttentionPointers& data, void* stream) {
  PlainForward<T> f = plain_forward<T>(problem, data);
  const int part = problem.value_width <= 64 ? 64 : 128;
  f.parts = problem.value_width <= part ? 1 : (problem.value_width + part - 1) / part;
  const int64_t blocks = static_cast<int64_t>(problem.batch) * problem.heads * f.tiles * f.parts;
  const size_t values = static_cast<size_t>(kPlainTile) * (part + 4);
  const size_t bytes = (2 * kPlainFloats + values) * sizeof(float);
  launch("attention", part == 64 ? plain_forward_kernel<T, 64> : plain_forward_kernel<T, 128>,
         {dim3(static_cast<unsigned>(blocks)), dim3(kPlainThreads), bytes}, stream, f);
}

template <class T>
void queue_plain_weights(const AttentionProblem& problem, const AttentionPointers& data, void* stream) {
  const PlainForward<T> f = plain_forward<T>(problem, data);
  const int64_t blocks = static_cast<int64_t>(problem.batch) * problem.heads * f.tiles;
  launch("attention_weights", plain_weights_kernel<T>,
         {dim3(static_cast<unsigned>(blocks)), dim3(kPlainThreads), 2 * kPlainFloats * sizeof(float)}, stream,
         f, data.weights);
}

template void queue_plain_forward<float>(const AttentionProblem&, const AttentionPointers&, void*);
template void queue_plain_forward<__nv_bfloat16>(const AttentionProblem&, const AttentionPointers&, void*);
template void queue_plain_forward<__half>(const AttentionProblem&, const AttentionPointers&, void*);
template void queue_plain_weights<float>(const AttentionProblem&, const AttentionPointers&, void*);
template void queue_plain_weights<__nv_bfloat16>(const AttentionProblem&, const AttentionPointers&, void*);
template void queue_plain_weights<__half>(const AttentionProblem&, const AttentionPointers&, void*);

}  // namespace floe
