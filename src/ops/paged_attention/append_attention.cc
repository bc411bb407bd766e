#include "ops/paged_attention/append_attention.h"

#include "ops/cache_append/cache_append.h"
#include "ops/paged_attention/paged_attention.h"

namespace floe {
namespace {

enum Input { kQ, kK, kV, kKCache, kVCache, kTable, kPositions, kLengths, kInputs };

// What is added to a cache must be of its type, one position a row.
void require_added(const InferArgs& args, Input added, Input cache, std::string_view name) {
  const Type& from = args.inputs[added];
  const Type& to = args.inputs[cache];
  if (from.dtype != to.dtype || !args.equal(from.dim(2), to.dim(2)) || !args.equal(from.dim(3), to.dim(3)))
    args.fail("{} and its cache must agree in type, heads and head size, got {} and {}", name, text_of(from),
              text_of(to));
}

std::vector<Type> infer(const InferArgs& args) {
  for (int i = kQ; i <= kVCache; ++i) {
    args.require_float(i);
    args.require_rank(i, 4);
  }
  const Type &q = args.inputs[kQ], &k_cache = args.inputs[kKCache], &v_cache = args.inputs[kVCache];
  const Dim& rows = q.dim(0);
  for (const Input i : {kQ, kK, kV}) {
    const Type& type = args.inputs[i];
    if (!args.equal(type.dim(0), rows) || !args.equal(type.dim(1), Dim(1)))
      args.fail("q, k and v must be one position each of the same rows, got {}, {} and {}", text_of(q),
                text_of(args.inputs[kK]), text_of(args.inputs[kV]));
  }
  require_added(args, kK, kKCache, "k");
  require_added(args, kV, kVCache, "v");
  if (q.dtype != k_cache.dtype || k_cache.dtype != v_cache.dtype) {
    args.fail("q, k_cache and v_cache must have one type, got {}, {} and {}", text_of(q), text_of(k_cache),
              text_of(v_cache));
  }
  for (int axis = 0; axis < 3; ++axis) {
    if (!args.equal(k_cache.dim(axis), v_cache.dim(axis)))
      args.fail("k_cache and v_cache must agree in all but head size, got {} and {}", text_of(k_cache),
                text_of(v_cache));
  }
  if (!args.equal(q.dim(3), k_cache.dim(3)))
    args.fail("q and k_cache must agree in head size, got {} and {}", text_of(q), text_of(k_cache));
  if (!q.dim(2).is_constant() || !k_cache.dim(2).is_constant() || k_cache.dim(2).constant() < 1 ||
      q.dim(2).constant() % k_cache.dim(2).constant() != 0) {
    args.fail("{} query heads are no multiple of {} key heads", q.dim(2).text(), k_cache.dim(2).text());
  }
  constexpr const char* kNames[] = {"table", "positions", "lengths"};
  for (int i = kTable; i < kInputs; ++i) {
    const Type& type = args.inputs[static_cast<size_t>(i)];
    const bool is_table = i == kTable;
    if (type.dtype != DType::i32 || type.rank() != (is_table ? 2 : 1) || !args.equal(type.dim(0), rows))
      args.fail("{} must be i32[{}{}], got {}", kNames[i - kTable], rows.text(), is_table ? ", T" : "",
                text_of(type));
  }
  return {{q.dtype, {rows, Dim(1), q.dim(2), v_cache.dim(3)}}, k_cache, v_cache};
}

Values meaning(Builder& b, const Node& node, std::span<const Value> in) {
  const Value k_cache = cache_append(b, in[kKCache], in[kK], in[kTable], in[kPositions]);
  const Value v_cache = cache_append(b, in[kVCache], in[kV], in[kTable], in[kPositions]);
  const Value out = paged_attention(b, {.q = in[kQ],
                                        .k_cache = k_cache,
                                        .v_cache = v_cache,
                                        .table = in[kTable],
                                        .lengths = in[kLengths],
                                        .causal = node.attrs.flag("causal"),
                                        .scale = node.attrs.number("scale")});
  return {out, k_cache, v_cache};
}

ShardRule shard(const ShardArgs& args) {
  ShardRule rule{std::vector<Placement>(kInputs), std::vector<Placement>(3)};
  for (int i = kQ; i <= kVCache; ++i) {
    if (args.placements[static_cast<size_t>(i)] != Placement::shard(2)) return rule;
  }
  for (size_t i = kQ; i <= kVCache; ++i) rule.inputs[i] = Placement::shard(2);
  for (Placement& output : rule.outputs) output = Placement::shard(2);
  return rule;
}

}  // namespace

AppendAttention append_attention(Builder& b, const AppendAttentionArgs& args) {
  const Values made = b.add_all(
      "append_attention",
      {args.q, args.k, args.v, args.k_cache, args.v_cache, args.table, args.positions, args.lengths},
      {{"scale", args.scale}, {"causal", args.causal}});
  return {made[0], made[1], made[2]};
}

void define_append_attention(OpTable& table) {
  OpDef op;
  op.name = "append_attention";
  op.summary =
      "(q [R, 1, Hq, D], k, v [R, 1, Hkv, .], k_cache, v_cache [N, block, Hkv, .], table [R, T], positions, "
      "lengths [R]) -> out [R, 1, Hq, Dv] over the caches with k and v in them, and the caches";
  op.min_inputs = op.max_inputs = kInputs;
  op.infer = infer;
  op.meaning = meaning;
  op.differentiable = false;
  op.in_place = {{1, kKCache}, {2, kVCache}};
  op.shard = shard;
  table.add(std::move(op));
}

}  // namespace floe
