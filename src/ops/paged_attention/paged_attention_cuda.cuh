// What the GPU's kernels of paged_attention read at bind time, the data of one run, and the choice between
// them.
#pragma once
#include <cstdint>

#include "kernel/cuda/half_types.cuh"
#include "kernel/kernel.h"

namespace floe {

struct PagedShape {
  int rows = 0, queries = 0, heads = 0, key_heads = 0, width = 0, value_width = 0;
  int64_t q_batch = 0, q_row = 0, q_head = 0;
  int blocks = 0, block = 1, table_width = 0;
  float scale = 1;
  bool causal = false;
  int tiles = 1;  // of the queries that read a key head
  int warps = 1;
  bool staged = false;  // keys and values go through shared memory, 16 bytes at a time

  __host__ __device__ int group() const { return heads / key_heads; }
  int readers() const { return queries * group(); }
};

// Of views with their shapes and strides.
inline PagedShape paged_shape(const View& q, const View& k, const View& v, const View& table,
                              const Attrs& attrs) {
  PagedShape s;
  s.rows = static_cast<int>(q.dims[0]);
  s.queries = static_cast<int>(q.dims[1]);
  s.heads = static_cast<int>(q.dims[2]);
  s.width = static_cast<int>(q.dims[3]);
  s.q_batch = q.strides[0];
  s.q_row = q.strides[1];
  s.q_head = q.strides[2];
  s.blocks = static_cast<int>(k.dims[0]);
  s.block = k.dims[1] > 1 ? static_cast<int>(k.dims[1]) : 1;
  s.key_heads = static_cast<int>(k.dims[2]);
  s.value_width = static_cast<int>(v.dims[3]);
  // Blocks of no positions hold nothing, however many the table names.
  s.table_width = k.dims[1] == 0 ? 0 : static_cast<int>(table.dims[1]);
  s.scale = static_cast<float>(attrs.number("scale"));
  s.causal = attrs.flag("causal");
  return s;
}

template <class T>
struct PagedRun {
  PagedShape s;
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  const int32_t *table = nullptr, *lengths = nullptr;
  T* out = nullptr;
};

// What append_attention writes into the caches before a row attends: key and value of one position a row.
// Nothing where `positions` is null.
template <class T>
struct AppendRun {
  const T *k = nullptr, *v = nullptr;
  int64_t k_row = 0, k_head = 0, v_row = 0, v_head = 0;  // strides
  T *k_cache = nullptr, *v_cache = nullptr;              // those that PagedRun reads
  const int32_t* positions = nullptr;
};

// Does queue_decode take it? A 2-byte type, at most 8 queries, heads of at most 256 features in whole 16
// bytes.
template <class T>
bool decodes(const PagedRun<T>& run) {
  const PagedShape& s = run.s;
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return s.queries <= 8 && s.width == s.value_width && s.width > 0 && s.width % 8 == 0 && s.width <= 256 &&
         aligned(run.k) && aligned(run.v);
}

// And what is added, 16 bytes at a time?
template <class T>
bool decodes(const PagedRun<T>& run, const AppendRun<T>& added) {
  const auto addresses = reinterpret_cast<uintptr_t>(added.k) | reinterpret_cast<uintptr_t>(added.v);
  const int64_t strides = added.k_row | added.k_head | added.v_row | added.v_head;
  return decodes(run) && addresses % 16 == 0 && strides % 8 == 0;
}

// T is __nv_bfloat16 or __half. `added`, with one query only, may be empty.
template <class T>
void queue_decode(const PagedRun<T>& run, const AppendRun<T>& added, void* stream);

// The kernel of paged_attention that takes it.
template <class T>
void queue_paged(const PagedRun<T>& run, void* stream);

void add_append_attention_cuda(KernelTable& table);

}  // namespace floe
