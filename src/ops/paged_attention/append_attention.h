// append_attention: a step's new key and value of each row into their caches, and the attention of its query
// over them, at once: what a pass makes of the two (passes/append_attention.h), so that a device starts one
// kernel.
//   q [R, 1, Hq, D], k [R, 1, Hkv, D], v [R, 1, Hkv, Dv], k_cache [N, block, Hkv, D], v_cache [N, block, Hkv,
//   Dv], table i32 [R, T], positions i32 [R], lengths i32 [R]
//   -> out [R, 1, Hq, Dv], and both caches, in place
// It means cache_append of k and v at `positions`, then paged_attention. No row may see a place of the caches
// that is written for another row in the same run: a kernel attends to one row while it writes for the next.
#pragma once
#include <optional>

#include "ir/builder.h"
#include "ir/op.h"

namespace floe {

struct AppendAttentionArgs {
  Value q, k, v, k_cache, v_cache, table, positions, lengths;
  bool causal = false;  // of one query: no difference
  double scale = 1;
};
struct AppendAttention {
  Value out, k_cache, v_cache;
};
AppendAttention append_attention(Builder& b, const AppendAttentionArgs& args);

void define_append_attention(OpTable& table);  // a part of define_paged_attention

}  // namespace floe
