#include "ops/embedding/embedding.h"

#include <algorithm>

#include "ir/evaluate.h"
#include "ops/embedding/embedding_sum.h"

namespace floe {
namespace {

int64_t checked_id(const RefTensor& ids, int64_t at, int64_t rows) {
  const int64_t id = ids.i[static_cast<size_t>(at)];
  if (id < 0 || id >= rows) fail_user("[embedding] id {} at position {} is outside 0..{}", id, at, rows - 1);
  return id;
}

void require_ids(const InferArgs& args, int input) {
  const Type& ids = args.inputs[static_cast<size_t>(input)];
  if (ids.dtype != DType::i32) args.fail("ids must be i32, got {}", text_of(ids));
}

OpDef embedding_def() {
  OpDef op;
  op.name = "embedding";
  op.summary = "rows of table [V, d] by ids [...] -> [..., d]";
  op.min_inputs = op.max_inputs = 2;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    args.require_float(0);
    args.require_rank(0, 2);
    require_ids(args, 1);
    Type result{args.inputs[0].dtype, args.inputs[1].dims};
    result.dims.push_back(args.inputs[0].dim(1));
    return {result};
  };
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    const RefTensor &table = args.inputs[0], &ids = args.inputs[1];
    RefTensor out(table.dtype, args.shapes[0]);
    const int64_t d = table.shape[1];
    for (int64_t at = 0; at < ids.size(); ++at) {
      const int64_t id = checked_id(ids, at, table.shape[0]);
      std::copy_n(table.f.begin() + id * d, d, out.f.begin() + at * d);
    }
    return {out};
  };
  op.gradient = [](Builder& b, const GradientArgs& args) -> Values {
    return {embedding_grad(b, args.inputs[1], args.d_outputs[0], b.type(args.inputs[0]).dim(0)), {}};
  };
  op.shard = [](const ShardArgs& args) -> ShardRule {
    const Placement &table = args.placements[0], &ids = args.placements[1];
    const Placement whole = Placement::replicate();
    if (table == Placement::shard(1)) return {{table, whole}, {Placement::shard(args.inputs[1].rank())}};
    if (ids.kind == Placement::Kind::shard) return {{whole, ids}, {ids}};
    return {{whole, whole}, {whole}};
  };
  return op;
}

OpDef embedding_grad_def() {
  OpDef op;
  op.name = "embedding_grad";
  op.summary = "rows of dy [..., d] summed by ids [...] -> [rows, d]";
  op.min_inputs = op.max_inputs = 2;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    require_ids(args, 0);
    args.require_float(1);
    const Type &ids = args.inputs[0], &dy = args.inputs[1];
    bool fits = dy.rank() == ids.rank() + 1;
    for (int i = 0; fits && i < ids.rank(); ++i) fits = args.equal(ids.dim(i), dy.dim(i));
    if (!fits)
      args.fail("dy must have the dims of ids and one more: ids {}, dy {}", text_of(ids), text_of(dy));
    const Dims& rows = args.attrs.dims("rows");
    if (rows.size() != 1) args.fail("attribute rows must be one dim, is {}", text_of(rows));
    return {{dy.dtype, {rows[0], dy.dim(-1)}}};
  };
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    const RefTensor &ids = args.inputs[0], &dy = args.inputs[1];
    RefTensor out(dy.dtype, args.shapes[0]);
    const int64_t d = out.shape[1];
    for (int64_t at = 0; at < ids.size(); ++at) {
      const int64_t id = checked_id(ids, at, out.shape[0]);
      for (int64_t j = 0; j < d; ++j) {
        out.f[static_cast<size_t>(id * d + j)] += dy.f[static_cast<size_t>(at * d + j)];
      }
    }
    return {out};
  };
  op.gradient = [](Builder& b, const GradientArgs& args) -> Values {
    return {{}, embedding(b, args.d_outputs[0], args.inputs[0])};
  };
  return op;
}

}  // namespace

Value embedding(Builder& b, Value table, Value ids) { return b.add("embedding", {table, ids}); }

Value embedding_grad(Builder& b, Value ids, Value dy, Dim rows) {
  return b.add("embedding_grad", {ids, dy}, {{"rows", Dims{std::move(rows)}}});
}

void define_embedding(OpTable& table) {
  table.add(embedding_def());
  table.add(embedding_grad_def());
  define_embedding_sum(table);
}

}  // namespace floe
