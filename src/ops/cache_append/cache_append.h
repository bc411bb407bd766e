// cache_append: new keys or values into a cache of blocks, through a table; in place.
//   cache [N, block, H, D], added [R, T, H, D], table i32 [R, M], positions i32 [R]
// added[r][t] goes to position positions[r] + t of row r, which lies in block table[r][position / block]. A
// table entry of -1 belongs to nobody: what would go there is left out (a finished row).
#pragma once
#include "ir/builder.h"

namespace floe {

Value cache_append(Builder& b, Value cache, Value added, Value table, Value positions);

// Two of one kind at once, keys and values of a layer: what a pass makes of two (passes/pair_appends.h), so
// that a device starts one kernel. Both caches have one type, and so has what is added to them.
struct CacheAppendPairArgs {
  Value first_cache, first_added, second_cache, second_added, table, positions;
};
struct CacheAppendPair {
  Value first, second;
};
CacheAppendPair cache_append_pair(Builder& b, const CacheAppendPairArgs& args);

}  // namespace floe
