// The gradient of attention in f32 arithmetic: any storage type, head size and alignment. Probabilities are
// computed again from lse. One kernel's blocks own 64 keys and 64 features of dk and dv, the other's 64
// queries and 64 features of dq: no sum is shared, so the order of summation is fixed.
#include "device/cuda/launch.cuh"
#include "ops/attention/attention_plain_cuda.cuh"

namespace floe {
namespace {

template <class T>
struct PlainGrad {
  AttentionProblem s;
  const T *q = nullptr, *k = nullptr, *v = nullptr, *out = nullptr, *dout = nullptr;
  const float* lse = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;
  bool q_vectors = false, k_vectors = false, v_vectors = false, out_vectors = false;
  int tiles = 0, parts = 1;  // of the queries or keys, of the features
};

// Shared memory of a block.
struct GradTiles {
  float *a, *b;  // operands
  float *p, *g;  // [query][key]
  float *lse, *delta;
  int *begin, *seen;  // the keys of each query
  __device__ GradTiles() {
    a = dynamic_shared<float>();
    b = a + kPlainFloats;
    p = b + kPlainFloats;
    g = p + kPlainFloats;
    lse = g + kPlainFloats;
    delta = lse + kPlainTile;
    begin = reinterpret_cast<int*>(delta + kPlainTile);
    seen = begin + kPlainTile;
  }
};
constexpr size_t kGradBytes = (4 * kPlainFloats + 4 * kPlainTile) * sizeof(float);

// Where a tile of queries of a head meets a tile of keys.
struct Meeting {
  int b, h, q0, queries, k0, keys;
};

// Whether a query of the meeting sees a key of it.
__device__ bool meet(const AttentionProblem& s, const Meeting& m, const AttentionProblem::Row& row) {
  return s.end(row, m.q0 + m.queries - 1) > m.k0 && s.begin(row, m.q0) < m.k0 + m.keys;
}

template <class T>
__device__ int64_t out_at(const AttentionProblem& s, const Meeting& m) {
  return ((m.b * static_cast<int64_t>(s.queries) + m.q0) * s.heads + m.h) * s.value_width;
}

// lse, delta = sum(dout * out) - dlse and the keys seen of the tile's queries.
template <class T>
__device__ void load_rows_of_queries(const PlainGrad<T>& f, const Meeting& m,
                                     const AttentionProblem::Row& row, const GradTiles& t) {
  const AttentionProblem& s = f.s;
  const int r = static_cast<int>(threadIdx.x) / 4;
  const int lane = static_cast<int>(threadIdx.x) % 4;
  const int64_t stride = static_cast<int64_t>(s.heads) * s.value_width;
  float delta = 0;
  if (r < m.queries) {
    const int64_t at = out_at<T>(s, m) + r * stride;
    for (int d = lane; d < s.value_width; d += 4)
      delta = fmaf(to_float(f.out[at + d]), to_float(f.dout[at + d]), delta);
  }
  delta += __shfl_xor_sync(0xffffffffu, delta, 1);
  delta += __shfl_xor_sync(0xffffffffu, delta, 2);
  if (lane == 0) {
    const int64_t at = (m.b * static_cast<int64_t>(s.heads) + m.h) * s.queries + m.q0 + r;
    const bool there = r < m.queries;
    if (there && s.dlse != nullptr) delta -= s.dlse[at];
    t.delta[r] = delta;
    t.lse[r] = there ? f.lse[at] : -INFINITY;
    t.begin[r] = there ? s.begin(row, m.q0 + r) : 0;
    t.seen[r] = there ? s.end(row, m.q0 + r) : 0;
  }
}

// For each query and key of the meeting, with m = mask / (1 - rate):
//   t.p = p m, t.g = p * (m * dout v^T - delta), by the logit, or times its derivative, by the product; 0
// where the query does not see the key. Begins and ends with a barrier.
template <bool kByLogits = false, class T>
__device__ void recompute(const PlainGrad<T>& f, const Meeting& m, int lag, const GradTiles& t) {
  const AttentionProblem& s = f.s;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int key_head = m.h / s.group();
  const PlainRows<T> q{f.q + m.b * s.q.batch + m.q0 * s.q.row + m.h * s.q.head, s.q.row, m.queries,
                       f.q_vectors};
  const PlainRows<T> k{f.k + m.b * s.k.batch + m.k0 * s.k.row + key_head * s.k.head, s.k.row, m.keys,
                       f.k_vectors};
  const PlainRows<T> v{f.v + m.b * s.v.batch + m.k0 * s.v.row + key_head * s.v.head, s.v.row, m.keys,
                       f.v_vectors};
  const PlainRows<T> dout{f.dout + out_at<T>(s, m), static_cast<int64_t>(s.heads) * s.value_width, m.queries,
                          f.out_vectors};
  float sums[4][4];
  __syncthreads();
  multiply_rows(q, k, s.width, t.a, t.b, sums);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) t.p[(4 * ty + i) * kPlainPitch + tx + 16 * j] = sums[i][j];
  }
  multiply_rows(dout, v, s.value_width, t.a, t.b, sums);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) t.g[(4 * ty + i) * kPlainPitch + tx + 16 * j] = sums[i][j];
  }
  __syncthreads();
  const uint32_t seed = s.drops() ? static_cast<uint32_t>(*s.seed) : 0;
  const uint32_t ordinal = s.drops() ? static_cast<uint32_t>(s.ordinals[m.b]) : 0;
  for (int i = static_cast<int>(threadIdx.x); i < kPlainTile * kPlainTile / 4; i += kPlainThreads) {
    const int r = i / (kPlainTile / 4);
    const int group = i % (kPlainTile / 4);
    uint32_t words[4] = {};
    if (s.drops()) {
      const uint4 block =
          philox_block(make_uint4(static_cast<uint32_t>(m.k0 / 4 + group), static_cast<uint32_t>(m.q0 + r),
                                  ordinal, static_cast<uint32_t>(m.h)),
                       seed, s.op_id);
      words[0] = block.x;
      words[1] = block.y;
      words[2] = block.z;
      words[3] = block.w;
    }
    const float lse = t.lse[r];
    const float delta = t.delta[r];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int at = r * kPlainPitch + 4 * group + e;
      const int key = m.k0 + 4 * group + e;
      const bool live = key >= t.begin[r] && key < t.seen[r] && lse != -INFINITY;
      float cap = 1;
      const float p = live ? expf(plain_logit(s, t.p[at], {m.b, m.h, m.q0 + r, key, lag}, &cap) - lse) : 0.0f;
      float mask = 1;
      if (s.drops()) mask = s.kept(words[e]) ? s.keep_factor : 0.0f;
      const float g = mask == 0 ? 0.0f : t.g[at] * mask;
      t.p[at] = mask == 0 ? 0.0f : p * mask;
      t.g[at] = live ? p * (kByLogits ? 1.0f : s.scale * cap) * (g - delta) : 0.0f;
    }
  }
  __syncthreads();
}

template <class T>
__global__ __launch_bounds__(kPlainThreads, 1) void plain_grad_keys_kernel(const PlainGrad<T> f) {
  const AttentionProblem& s = f.s;
  const GradTiles t;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int first = static_cast<int>(blockIdx.x) % f.parts * kPlainTile;
  const int k0 = static_cast<int>(blockIdx.x) / f.parts % f.tiles * kPlainTile;
  const int row = static_cast<int>(blockIdx.x) / f.parts / f.tiles;
  const int b = row / s.key_heads;
  const int key_head = row % s.key_heads;
  const AttentionProblem::Row b_row = s.row(b);
  const int keys = ::min(kPlainTile, b_row.length - k0);
  float dk[4][4] = {}, dv[4][4] = {};
  for (int member = 0; member < s.group() && keys > 0; ++member) {
    for (int q0 = 0; q0 < b_row.queries; q0 += kPlainTile) {
      const Meeting m{b, key_head * s.group() + member, q0, ::min(kPlainTile, b_row.queries - q0), k0, keys};
      if (!meet(s, m, b_row)) continue;
      __syncthreads();
      load_rows_of_queries(f, m, b_row, t);
      recompute(f, m, b_row.lag, t);
      load_plain_tile(f.q + b * s.q.batch + q0 * s.q.row + m.h * s.q.head, s.q.row, m.queries, first, s.width,
                      f.q_vectors, t.a);
      load_plain_tile(f.dout + out_at<T>(s, m), static_cast<int64_t>(s.heads) * s.value_width, m.queries,
                      first, s.value_width, f.out_vectors, t.b);
      __syncthreads();
      for (int i = 0; i < m.queries; ++i) {
        const float4 x = *reinterpret_cast<const float4*>(t.a + i * kPlainPitch + 4 * tx);
        const float4 y = *reinterpret_cast<const float4*>(t.b + i * kPlainPitch + 4 * tx);
        const int begin = t.begin[i] - k0, seen = t.seen[i] - k0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (4 * ty + j >= seen || 4 * ty + j < begin) continue;
          const float p = t.p[i * kPlainPitch + 4 * ty + j];
          const float g = t.g[i * kPlainPitch + 4 * ty + j];
          dk[j][0] = fmaf(g, x.x, dk[j][0]);
          dk[j][1] = fmaf(g, x.y, dk[j][1]);
          dk[j][2] = fmaf(g, x.z, dk[j][2]);
          dk[j][3] = fmaf(g, x.w, dk[j][3]);
          dv[j][0] = fmaf(p, y.x, dv[j][0]);
          dv[j][1] = fmaf(p, y.y, dv[j][1]);
          dv[j][2] = fmaf(p, y.z, dv[j][2]);
          dv[j][3] = fmaf(p, y.w, dv[j][3]);
        }
      }
    }
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int key = k0 + 4 * ty + j;
    if (key >= s.keys) continue;
    T* to_dk = f.dk + b * s.dk.batch + key * s.dk.row + key_head * s.dk.head;
    T* to_dv = f.dv + b * s.dv.batch + key * s.dv.row + key_head * s.dv.head;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int feature = first + 4 * tx + e;
      if (feature < s.width) to_dk[feature] = from_float<T>(dk[j][e]);
      if (feature < s.value_width) to_dv[feature] = from_float<T>(dv[j][e]);
    }
  }
}

template <class T>
__global__ __launch_bounds__(kPlainThreads, 1) void plain_grad_queries_kernel(const PlainGrad<T> f) {
  const AttentionProblem& s = f.s;
  const GradTiles t;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int first = static_cast<int>(blockIdx.x) % f.parts * kPlainTile;
  const int q0 = static_cast<int>(blockIdx.x) / f.parts % f.tiles * kPlainTile;
  const int row = static_cast<int>(blockIdx.x) / f.parts / f.tiles;
  const int b = row / s.heads;
  const AttentionProblem::Row b_row = s.row(b);
  Meeting m{b, row % s.heads, q0, ::max(0, ::min(kPlainTile, b_row.queries - q0)), 0, 0};
  const int last = m.queries > 0 ? s.end(b_row, q0 + m.queries - 1) : 0;
  const T* k = f.k + m.b * s.k.batch + m.h / s.group() * s.k.head;
  float dq[4][4] = {};
  load_rows_of_queries(f, m, b_row, t);
  for (int k0 = s.begin(b_row, q0) / kPlainTile * kPlainTile; k0 < last; k0 += kPlainTile) {
    m.k0 = k0;
    m.keys = ::min(kPlainTile, last - k0);
    recompute(f, m, b_row.lag, t);
    load_plain_tile(k + k0 * s.k.row, s.k.row, m.keys, first, s.width, f.k_vectors, t.b);
    __syncthreads();
    for (int j = 0; j < m.keys; ++j) {
      const float4 x = *reinterpret_cast<const float4*>(t.b + j * kPlainPitch + 4 * tx);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (k0 + j >= t.seen[4 * ty + i] || k0 + j < t.begin[4 * ty + i]) continue;
        const float g = t.g[(4 * ty + i) * kPlainPitch + j];
        dq[i][0] = fmaf(g, x.x, dq[i][0]);
        dq[i][1] = fmaf(g, x.y, dq[i][1]);
        dq[i][2] = fmaf(g, x.z, dq[i][2]);
        dq[i][3] = fmaf(g, x.w, dq[i][3]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (4 * ty + i >= s.queries - q0) continue;
    T* to = f.dq + m.b * s.dq.batch + (q0 + 4 * ty + i) * s.dq.row + m.h * s.dq.head;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int feature = first + 4 * tx + e;
      if (feature < s.width) to[feature] = from_float<T>(dq[i][e]);
    }
  }
}

// The gradient of the bias: a block owns a tile of queries and keys of one of its heads, and computes the
// gradients of their logits again for every batch row and head that shares it.
template <class T>
__global__ __launch_bounds__(kPlainThreads, 1) void plain_grad_bias_kernel(const PlainGrad<T> f,
                                                                           float* dbias) {
  const AttentionProblem& s = f.s;
  const GradTiles t;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int k0 = static_cast<int>(blockIdx.x) % f.parts * kPlainTile;
  const int q0 = static_cast<int>(blockIdx.x) / f.parts % f.tiles * kPlainTile;
  const int row = static_cast<int>(blockIdx.x) / f.parts / f.tiles;
  const int heads = s.bias_head == 0 ? 1 : s.heads;
  const int first_b = row / heads, first_h = row % heads;
  const int last_b = s.bias_batch == 0 ? s.batch : first_b + 1;
  const int last_h = s.bias_head == 0 ? s.heads : first_h + 1;
  float sums[4][4] = {};
  for (int b = first_b; b < last_b; ++b) {
    const AttentionProblem::Row b_row = s.row(b);
    for (int h = first_h; h < last_h; ++h) {
      const Meeting m{
          b, h, q0, ::min(kPlainTile, b_row.queries - q0), k0, ::min(kPlainTile, b_row.length - k0)};
      if (m.queries <= 0 || m.keys <= 0 || !meet(s, m, b_row)) continue;
      __syncthreads();
      load_rows_of_queries(f, m, b_row, t);
      recompute<true>(f, m, b_row.lag, t);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] += t.g[(4 * ty + i) * kPlainPitch + tx + 16 * j];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int query = q0 + 4 * ty + i, key = k0 + tx + 16 * j;
      if (query < s.queries && key < s.keys)
        dbias[(static_cast<int64_t>(row) * s.queries + query) * s.keys + key] = sums[i][j];
    }
  }
}

int parts_of(int features) { return (features + kPlainTile - 1) / kPlainTile; }

}  // namespace

template <class T>
void queue_plain_grad(const AttentionProblem& s, const AttentionPointers& data, void* stream) {
  PlainGrad<T> f{s};
  set_gradient_pointers<T>(data, &f);
  f.q_vectors = loads_vectors<T>(data.q, s.q, s.width);
  f.k_vectors = loads_vectors<T>(data.k, s.k, s.width);
  f.v_vectors = loads_vectors<T>(data.v, s.v, s.value_width);
  f.out_vectors = loads_vectors<T>(data.dout, {}, s.value_width);
  f.tiles = (s.keys + kPlainTile - 1) / kPlainTile;
  f.parts = parts_of(s.width > s.value_width ? s.width : s.value_width);
  const int64_t key_blocks = static_cast<int64_t>(s.batch) * s.key_heads * f.tiles * f.parts;
  launch("attention_grad (keys)", plain_grad_keys_kernel<T>,
         {dim3(static_cast<unsigned>(key_blocks)), dim3(kPlainThreads), kGradBytes}, stream, f);
  f.tiles = (s.queries + kPlainTile - 1) / kPlainTile;
  f.parts = parts_of(s.width);
  const int64_t query_blocks = static_cast<int64_t>(s.batch) * s.heads * f.tiles * f.parts;
  launch("attention_grad (queries)", plain_grad_queries_kernel<T>,
         {dim3(static_cast<unsigned>(query_blocks)), dim3(kPlainThreads), kGradBytes}, stream, f);
  if (data.dbias == nullptr) return;
  f.parts = parts_of(s.keys);
  const int64_t rows =
      static_cast<int64_t>(s.bias_batch == 0 ? 1 : s.batch) * (s.bias_head == 0 ? 1 : s.heads);
  launch("attention_grad (bias)", plain_grad_bias_kernel<T>,
         {dim3(static_cast<unsigned>(rows * f.tiles * f.parts)), dim3(kPlainThreads), kGradBytes}, stream, f,
         data.dbias);
}

template void queue_plain_grad<float>(const AttentionProblem&, const AttentionPointers&, void*);
template void queue_plain_grad<__nv_bfloat16>(const AttentionProblem&, const AttentionPointers&, void*);
template void queue_plain_grad<__half>(const AttentionProblem&, const AttentionPointers&, void*);

}  // namespace floe
