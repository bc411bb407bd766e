// The decoder's memory between steps, and the doors through which a search uses it.
//
// Keys and values live in states that are allocated once and written in place:
//   cache.self_k.LAYER, cache.self_v.LAYER    [self_blocks, self_block, kv_heads, head_dim]
//   cache.cross_k.LAYER, cache.cross_v.LAYER  [cross_blocks, cross_block, kv_heads, head_dim]
// How many blocks there are is a symbol that the caller binds when it allocates. Rows find their positions
// through a table: entry [r][t] is the block that holds positions t * block ... t * block + block - 1 of row
// r. Nothing is ever copied between blocks; a search only edits tables.
//
// - Beams: self_block = 1. When row r continues hypothesis p, table row r takes p's entries for the past and
//   a free block for the new position; blocks that no row names any more are free.
// - Rows that never fork may take self_block = 16: a new block every 16 positions. (The decode engine uses 1
// for
//   all searches: one program serves them, and a block of 1 gives the same bits.)
// - Cross attention: encode_graph writes a sentence's keys and values once through cross_table [B, W]; in a
//   step each row's cross_table entry names its sentence's blocks, so beams share them.
// - Entry -1: a position that is neither written nor read (beyond a row's length; a finished row). Tables
//   cover the padded positions of a batch too.
#pragma once
#include <string>
#include <vector>

#include "ir/builder.h"
#include "nn/config.h"
#include "nn/layers.h"

namespace floe {

struct CacheOptions {
  int64_t self_block = 1;  // positions in a block
  int64_t cross_block = 16;
  void validate() const;  // throws Error{user} naming a block size below 1
};

struct CacheSpec {
  std::string name;
  Type type;
};
// Every cache state of a model; `symbols` get "self_blocks" and "cross_blocks".
std::vector<CacheSpec> cache_table(const ModelConfig& config, const CacheOptions& options,
                                   SymbolTable* symbols);

// Where a step's rows lie: i32 inputs of the graph.
struct CachePlace {
  Value table;      // [R, W]
  Value positions;  // [R], position of the first new token
  Value lengths;    // [R], positions that can be read once the new ones are written: positions + T
};

// Writes k and v [R, T, kv_heads, head_dim] at their positions and attends to everything up to each query's
// own position. The new cache values become the states' updates.
Value attend_cached(ModelContext& m, const CacheOptions& options, int64_t layer, const Projected& now,
                    const CachePlace& at);

// Encoder side: writes a layer's keys and values [B, S, kv_heads, head_dim] through table [B, W].
void write_cross(ModelContext& m, const CacheOptions& options, int64_t layer, const Projected& keys_values,
                 Value table);
// Decoder side: q [R, T, heads, head_dim] against the sentence that table [R, W] and lengths [R] name.
Value attend_cross_cached(ModelContext& m, const CacheOptions& options, int64_t layer, Value q, Value table,
                          Value lengths);

}  // namespace floe
