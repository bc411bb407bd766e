#include "nn/kv_cache.h"

#include "base/error.h"
#include "ops/broadcast/broadcast.h"
#include "ops/cache_append/cache_append.h"
#include "ops/paged_attention/paged_attention.h"

namespace floe {
namespace {

struct CachePair {
  std::string k_name, v_name;
  Value k, v;
};

Type cache_type(const ModelConfig& config, SymbolTable* symbols, const char* blocks, int64_t block) {
  return {DType::f32, {symbols->declare(blocks), Dim(block), Dim(config.kv_heads), Dim(config.head_dim())}};
}

// Each graph reads a cache state once.
CachePair cache_states(ModelContext& m, const char* kind, int64_t layer, const char* blocks, int64_t block) {
  const Type type = cache_type(m.config, &m.b.graph().symbols(), blocks, block);
  CachePair pair{
      fmt::format("cache.{}_k.{}", kind, layer), fmt::format("cache.{}_v.{}", kind, layer), {}, {}};
  pair.k = m.b.state(pair.k_name, type, {{"trainable", false}, {"shard_axis", int64_t{2}}});
  pair.v = m.b.state(pair.v_name, type, {{"trainable", false}, {"shard_axis", int64_t{2}}});
  return pair;
}

}  // namespace

void CacheOptions::validate() const {
  if (self_block < 1) fail_user("cache: self_block must be at least 1, got {}", self_block);
  if (cross_block < 1) fail_user("cache: cross_block must be at least 1, got {}", cross_block);
}

std::vector<CacheSpec> cache_table(const ModelConfig& config, const CacheOptions& options,
                                   SymbolTable* symbols) {
  options.validate();
  std::vector<CacheSpec> table;
  for (int64_t i = 0; i < config.decoder_layers; ++i) {
    for (const char* kv : {"k", "v"}) {
      table.push_back({fmt::format("cache.self_{}.{}", kv, i),
                       cache_type(config, symbols, "self_blocks", options.self_block)});
      if (!config.has_encoder()) continue;
      table.push_back({fmt::format("cache.cross_{}.{}", kv, i),
                       cache_type(config, symbols, "cross_blocks", options.cross_block)});
    }
  }
  return table;
}

Value attend_cached(ModelContext& m, const CacheOptions& options, int64_t layer, const Projected& now,
                    const CachePlace& at) {
  const CachePair old = cache_states(m, "self", layer, "self_blocks", options.self_block);
  const Value k = cache_append(m.b, old.k, now.k, at.table, at.positions);
  const Value v = cache_append(m.b, old.v, now.v, at.table, at.positions);
  m.b.update(old.k_name, k);
  m.b.update(old.v_name, v);
  return paged_attention(
      m.b,
      {.q = now.q, .k_cache = k, .v_cache = v, .table = at.table, .lengths = at.lengths, .causal = true});
}

void write_cross(ModelContext& m, const CacheOptions& options, int64_t layer, const Projected& keys_values,
                 Value table) {
  const CachePair old = cache_states(m, "cross", layer, "cross_blocks", options.cross_block);
  const Value zeros = broadcast(m.b, m.b.scalar(0, DType::i32), {m.b.type(keys_values.k).dim(0)});
  m.b.update(old.k_name, cache_append(m.b, old.k, keys_values.k, table, zeros));
  m.b.update(old.v_name, cache_append(m.b, old.v, keys_values.v, table, zeros));
}

Value attend_cross_cached(ModelContext& m, const CacheOptions& options, int64_t layer, Value q, Value table,
                          Value lengths) {
  const CachePair cache = cache_states(m, "cross", layer, "cross_blocks", options.cross_block);
  return paged_attention(
      m.b, {.q = q, .k_cache = cache.k, .v_cache = cache.v, .table = table, .lengths = lengths});
}

}  // namespace floe
