// paged_attention: attention of a few new queries over keys and values that lie in blocks of a cache.
//   q [R, Sq, Hq, D], k_cache [N, block, Hkv, D], v_cache [N, block, Hkv, Dv], table i32 [R, T], lengths i32
//   [R]
//   -> out [R, Sq, Hq, Dv]
// table[r][t] names the cache block that holds positions t*block .. t*block + block-1 of row r. Row r has
// lengths[r] keys; when causal its queries are the last Sq of them: query i sits at position lengths[r] - Sq
// + i.
#pragma once
#include <optional>

#include "ir/builder.h"

namespace floe {

struct PagedAttentionArgs {
  Value q, k_cache, v_cache, table, lengths;
  bool causal = false;
  std::optional<double> scale = {};  // 1 / sqrt(D)
};
Value paged_attention(Builder& b, const PagedAttentionArgs& args);

}  // namespace floe
