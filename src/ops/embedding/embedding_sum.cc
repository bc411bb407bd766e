#include "ops/embedding/embedding_sum.h"

#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"

namespace floe {
namespace {

enum Input { kTable, kIds, kAddedTable, kAddedIds };

std::vector<Type> infer(const InferArgs& args) {
  for (const Input table : {kTable, kAddedTable}) {
    args.require_float(table);
    args.require_rank(table, 2);
  }
  const Type &table = args.inputs[kTable], &added = args.inputs[kAddedTable];
  if (!args.equal(table.dim(1), added.dim(1)))
    args.fail("both tables must have rows of one length, got {} and {}", text_of(table), text_of(added));
  const Type &ids = args.inputs[kIds], &added_ids = args.inputs[kAddedIds];
  bool fits = ids.dtype == DType::i32 && added_ids.dtype == DType::i32 && ids.rank() == added_ids.rank();
  for (int i = 0; fits && i < ids.rank(); ++i) fits = args.equal(ids.dim(i), added_ids.dim(i));
  if (!fits) args.fail("ids must be i32 of one shape, got {} and {}", text_of(ids), text_of(added_ids));
  const DType out = args.attrs.dtype("out");
  if (!is_float(out)) args.fail("out must be a floating type, is {}", name_of(out));
  Type result{out, ids.dims};
  result.dims.push_back(table.dim(1));
  return {result};
}

Values meaning(Builder& b, const Node& node, std::span<const Value> in) {
  Value x = cast(b, embedding(b, in[kTable], in[kIds]), DType::f32);
  if (const double factor = node.attrs.number("scale"); factor != 1) x = mul(b, x, b.scalar(factor));
  const Value added = cast(b, embedding(b, in[kAddedTable], in[kAddedIds]), DType::f32);
  return {cast(b, add(b, x, added), node.attrs.dtype("out"))};
}

}  // namespace

Value embedding_sum(Builder& b, const EmbeddingSumArgs& args) {
  return b.add("embedding_sum", {args.table, args.ids, args.added_table, args.added_ids},
               {{"scale", args.scale}, {"out", args.out}});
}

void define_embedding_sum(OpTable& table) {
  OpDef op;
  op.name = "embedding_sum";
  op.summary = "rows of table [V, d] by ids [...], times scale, and rows of another by other ids -> [..., d]";
  op.min_inputs = op.max_inputs = 4;
  op.infer = infer;
  op.meaning = meaning;
  table.add(std::move(op));
}

}  // namespace floe
