// What attention's GPU kernels share: the problem as a kernel sees it, and how each family of kernels is
// queued.
//
// Three families. The plain one (attention_plain_cuda.cu, attention_grad_plain_cuda.cu) computes in f32 for
// every storage type, head size, alignment and feature. The one on tensor cores (attention_mma_cuda.cu,
// attention_grad_mma_cuda.cu) takes 2-byte types whose head sizes are multiples of 8, up to 256. Those of
// sm_90 (attention_wgmma_cuda.cu, attention_grad_wgmma_cuda.cu) take of these the long sequences.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernel/cuda/half_types.cuh"
#include "ops/attention/attention_kernel.h"

namespace floe {

struct AttentionProblem {
  int batch, queries, keys, heads, key_heads, width, value_width;
  HeadsLayout q, k, v, dq, dk, dv;
  int diagonal = 0;  // query i sees keys 0..i + diagonal
  float scale = 1;
  uint32_t threshold = 0;
  float keep_factor = 1;
  uint32_t op_id = 0;
  const int32_t *lengths = nullptr, *seed = nullptr, *ordinals = nullptr;  // null where there are none

  // What the plain kernels alone know (attention.h); `general` where any of it is asked for.
  bool general = false, top_left = false;
  int window_left = kFar, window_right = kFar;
  float softcap = 0;
  int64_t bias_batch = 0, bias_head = 0;
  const int32_t* query_lengths = nullptr;
  const float *bias = nullptr, *slopes = nullptr, *dlse = nullptr;
  static constexpr int kFar = 1 << 30;  // beyond every key

  static AttentionProblem of(const AttentionSpec& s) {
    AttentionProblem p{static_cast<int>(s.batch),
                       static_cast<int>(s.queries),
                       static_cast<int>(s.keys),
                       static_cast<int>(s.heads),
                       static_cast<int>(s.key_heads),
                       static_cast<int>(s.width),
                       static_cast<int>(s.value_width),
                       s.q,
                       s.k,
                       s.v,
                       s.dq,
                       s.dk,
                       s.dv};
    p.diagonal = p.keys;
    if (s.causal == AttentionSpec::Causal::top_left) p.diagonal = 0;
    if (s.causal == AttentionSpec::Causal::bottom_right) p.diagonal = p.keys - p.queries;
    p.scale = s.scale;
    p.threshold = s.threshold;
    p.keep_factor = s.keep_factor;
    p.op_id = s.op_id;
    p.general = s.general;
    p.top_left = s.causal == AttentionSpec::Causal::top_left;
    p.window_left = static_cast<int>(std::min<int64_t>(s.window_left, kFar));
    p.window_right = s.causal == AttentionSpec::Causal::none
                         ? static_cast<int>(std::min<int64_t>(s.window_right, kFar))
                         : 0;
    p.softcap = s.softcap;
    p.bias_batch = s.bias_batch;
    p.bias_head = s.bias_head;
    return p;
  }

  __host__ __device__ int group() const { return heads / key_heads; }
  __device__ int length(int b) const { return lengths == nullptr ? keys : ::max(0, ::min(keys, lengths[b])); }
  // How many keys query i sees of a row with `length`: the first ones, never fewer than query i - 1.
  __device__ int seen(int length, int i) const { return ::max(0, ::min(length, i + 1 + diagonal)); }
  // A batch row, as AttentionRow.
  struct Row {
    int length, queries, lag;
  };
  __device__ Row row(int b) const {
    Row row{length(b), queries, 0};
    if (query_lengths != nullptr) row.queries = ::max(0, ::min(queries, query_lengths[b]));
    if (!top_left) row.lag = query_lengths == nullptr ? keys - queries : row.length - row.queries;
    return row;
  }
  // Query i sees the keys begin() to end() - 1; neither falls from one query to the next that exists.
  __device__ int end(const Row& row, int i) const {
    const int64_t n = static_cast<int64_t>(i) + row.lag + window_right + 1;
    if (i >= row.queries || n < 0) return 0;
    return n < row.length ? static_cast<int>(n) : row.length;
  }
  __device__ int begin(const Row& row, int i) const {
    const int64_t n = static_cast<int64_t>(i) + row.lag - window_left;
    const int last = end(row, i);
    return n < 0 ? 0 : (n < last ? static_cast<int>(n) : last);
  }
  __device__ bool drops() const { return ordinals != nullptr; }
  __device__ bool kept(uint32_t word) const { return (word >> 8) >= threshold; }
};

// Pointers of one run. Those of q, k, v and their gradients follow the problem's strides, all others are
// row-major.
struct AttentionPointers {
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  const void *out = nullptr, *dout = nullptr;  // of the gradient
  const float* lse = nullptr;
  void *to_out = nullptr, *dq = nullptr, *dk = nullptr, *dv = nullptr;
  float *to_lse = nullptr, *weights = nullptr, *workspace = nullptr, *dbias = nullptr;
};

// What every kernel of the gradient reads and writes, into its own arguments.
template <class T, class Arguments>
void set_gradient_pointers(const AttentionPointers& data, Arguments* f) {
  f->q = static_cast<const T*>(data.q);
  f->k = static_cast<const T*>(data.k);
  f->v = static_cast<const T*>(data.v);
  f->out = static_cast<const T*>(data.out);
  f->dout = static_cast<const T*>(data.dout);
  f->lse = data.lse;
  f->dq = static_cast<T*>(data.dq);
  f->dk = static_cast<T*>(data.dk);
  f->dv = static_cast<T*>(data.dv);
}

template <class T>
void queue_plain_forward(const AttentionProblem& problem, const AttentionPointers& data, void* stream);
template <class T>
void queue_plain_weights(const AttentionProblem& problem, const AttentionPointers& data, void* stream);
template <class T>
void queue_plain_grad(const AttentionProblem& problem, const AttentionPointers& data, void* stream);

// `workspace` of the gradient: a float for each [batch, head, query].
template <class T>
void queue_mma_forward(const AttentionProblem& problem, const AttentionPointers& data, void* stream);
template <class T>
void queue_mma_grad(const AttentionProblem& problem, const AttentionPointers& data, void* stream);

// The forward pass on sm_90's own tensor core instructions: without dropout, for a positive scale and layouts
// that the copy engine takes. The device is not asked.
template <class T>
bool wgmma_takes(const AttentionProblem& problem, const AttentionPointers& data);
template <class T>
void queue_wgmma_forward(const AttentionProblem& problem, const AttentionPointers& data, void* stream);

// What the gradient on sm_90 is bound with. Which sizes it takes depends on neither the batch nor the data;
// of them it takes what also fits the kernels of mma.sync.
struct WgmmaGradPlan {
  bool taken = false;
  int tile = 0;  // queries of a step
  int query_blocks = 0, key_blocks = 0, ring = 0;
  bool rotated = false;
  size_t rows_at = 0, sums_at = 0, bytes = 0;  // of the workspace, which begins with the counters

  // On the current device.
  static WgmmaGradPlan of(const AttentionProblem& problem, bool lengths, bool dropout);
};
template <class T>
void queue_wgmma_grad(const AttentionProblem& problem, const WgmmaGradPlan& plan,
                      const AttentionPointers& data, void* stream);

}  // namespace floe
