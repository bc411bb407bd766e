#include "ops/cache_append/cache_append.h"

#include <algorithm>

#include "ir/evaluate.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  const Type& cache = args.inputs[0];
  const Type& added = args.inputs[1];
  args.require_rank(0, 4);
  args.require_rank(1, 4);
  if (cache.dtype != added.dtype || !args.equal(cache.dim(2), added.dim(2)) ||
      !args.equal(cache.dim(3), added.dim(3))) {
    args.fail("the cache and what is added must agree in type, heads and head size, got {} and {}",
              text_of(cache), text_of(added));
  }
  const Type& table = args.inputs[2];
  const Type& positions = args.inputs[3];
  if (table.dtype != DType::i32 || table.rank() != 2 || !args.equal(table.dim(0), added.dim(0))) {
    args.fail("table must be i32[{}, M], got {}", added.dim(0).text(), text_of(table));
  }
  if (positions.dtype != DType::i32 || positions.rank() != 1 || !args.equal(positions.dim(0), added.dim(0))) {
    args.fail("positions must be i32[{}], got {}", added.dim(0).text(), text_of(positions));
  }
  return {cache};
}

std::vector<RefTensor> evaluate_cache_append(const EvalArgs& args) {
  RefTensor cache = args.inputs[0];
  const RefTensor& added = args.inputs[1];
  const RefTensor& table = args.inputs[2];
  const int64_t block = cache.shape[1];
  const int64_t entry = cache.shape[2] * cache.shape[3];
  for (int64_t r = 0; r < added.shape[0]; ++r) {
    for (int64_t t = 0; t < added.shape[1]; ++t) {
      const int64_t position = args.inputs[3].i[static_cast<size_t>(r)] + t;
      if (position < 0 || position >= table.shape[1] * block) {
        fail_user("[cache_append] row {}: position {} is outside its table of {} blocks of {}", r, position,
                  table.shape[1], block);
      }
      const int64_t slot = table.i[static_cast<size_t>(r * table.shape[1] + position / block)];
      if (slot == -1) continue;
      if (slot < 0 || slot >= cache.shape[0]) {
        fail_user("[cache_append] row {}: table names block {} of {}", r, slot, cache.shape[0]);
      }
      const auto from = (r * added.shape[1] + t) * entry;
      const auto to = (slot * block + position % block) * entry;
      if (is_float(cache.dtype)) {
        std::copy_n(added.f.begin() + from, entry, cache.f.begin() + to);
      } else {
        std::copy_n(added.i.begin() + from, entry, cache.i.begin() + to);
      }
    }
  }
  return {cache};
}

// Operands: cache, added, cache, added, table, positions.
std::vector<Type> infer_pair(const InferArgs& args) {
  if (args.inputs[0] != args.inputs[2] || args.inputs[1] != args.inputs[3]) {
    args.fail("both caches must have one type, and what is added to them, got {}, {}, {} and {}",
              text_of(args.inputs[0]), text_of(args.inputs[1]), text_of(args.inputs[2]),
              text_of(args.inputs[3]));
  }
  const InferArgs one{args.op,
                      {args.inputs[0], args.inputs[1], args.inputs[4], args.inputs[5]},
                      args.attrs,
                      args.body,
                      args.symbols};
  return {infer(one)[0], args.inputs[2]};
}

Values meaning_of_pair(Builder& b, const Node&, std::span<const Value> inputs) {
  return {cache_append(b, inputs[0], inputs[1], inputs[4], inputs[5]),
          cache_append(b, inputs[2], inputs[3], inputs[4], inputs[5])};
}

}  // namespace

CacheAppendPair cache_append_pair(Builder& b, const CacheAppendPairArgs& args) {
  const Values made = b.add_all("cache_append_pair", {args.first_cache, args.first_added, args.second_cache,
                                                      args.second_added, args.table, args.positions});
  return {made[0], made[1]};
}

Value cache_append(Builder& b, Value cache, Value added, Value table, Value positions) {
  return b.add("cache_append", {cache, added, table, positions});
}

void define_cache_append(OpTable& table) {
  OpDef op;
  op.name = "cache_append";
  op.summary =
      "(cache [N, block, H, D], added [R, T, H, D], table [R, M], positions [R]) -> cache with the rows "
      "written";
  op.min_inputs = op.max_inputs = 4;
  op.infer = infer;
  op.evaluate = evaluate_cache_append;
  op.differentiable = false;
  op.in_place = {{0, 0}};
  op.shard = [](const ShardArgs& args) -> ShardRule {
    Placement at = Placement::replicate();
    if (args.placements[0] == Placement::shard(2) && args.placements[1] == Placement::shard(2))
      at = Placement::shard(2);
    return {{at, at, Placement::replicate(), Placement::replicate()}, {at}};
  };
  table.add(std::move(op));

  OpDef pair;
  pair.name = "cache_append_pair";
  pair.summary = "(cache, added, cache, added, table, positions) -> both caches, as cache_append writes them";
  pair.min_inputs = pair.max_inputs = 6;
  pair.infer = infer_pair;
  pair.meaning = meaning_of_pair;
  pair.differentiable = false;
  pair.in_place = {{0, 0}, {1, 2}};
  table.add(std::move(pair));
}

}  // namespace floe
