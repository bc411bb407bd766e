// What the GPU's kernels of paged_attention read at bind time, the data of one run, and the choice between
// them.
#pragma once
#include <cstdint>

#include "kernel/cuda/half_types.cuh"

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

template <class T>
struct PagedRun {
  PagedShape s;
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  const int32_t *table = nullptr, *lengths = nullptr;
  T* out = nullptr;
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

// T is __nv_bfloat16 or __half.
template <class T>
void queue_decode(const PagedRun<T>& run, void* stream);

}  // namespace floe
