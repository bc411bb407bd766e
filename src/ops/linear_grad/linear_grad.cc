#include "ops/linear_grad/linear_grad.h"

#include "ops/elementwise/elementwise.h"
#include "ops/infer.h"
#include "ops/reduce/reduce.h"

namespace floe {
namespace {

bool input_first(const Attrs& attrs) { return attrs.flag("input_first", false); }

std::vector<Type> infer(const InferArgs& args) {
  const Type &x = args.inputs[0], &dy = args.inputs[1];
  args.require_float(0);
  args.require_rank(0, 2);
  args.require_rank(1, 2);
  if (x.dtype != dy.dtype) args.fail("operands must have one type, got {} and {}", text_of(x), text_of(dy));
  if (!args.equal(x.dim(0), dy.dim(0))) {
    args.fail("numbers of rows differ: x {}, dy {}", text_of(x), text_of(dy));
  }
  const DType sums = x.dtype == DType::f64 ? DType::f64 : DType::f32;
  const bool first = input_first(args.attrs);
  return {{sums, {(first ? x : dy).dim(1), (first ? dy : x).dim(1)}}, {sums, {dy.dim(1)}}};
}

Values meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const Value x = inputs[0], dy = inputs[1];
  const DType sums = node.types[0].dtype;
  Attrs attrs{{"transpose_a", true}};
  if (b.type(x).dtype != sums) attrs.set("out", sums);
  const Values operands = input_first(node.attrs) ? Values{x, dy} : Values{dy, x};
  return {b.add("matmul", operands, attrs), reduce_sum(b, cast(b, dy, sums), {0}, /*keep=*/false)};
}

// Rows cut: both results are partial sums. Else dy, or x, may be cut along its columns, which are one of
// dweight's dims.
ShardRule shard(const ShardArgs& args) {
  const Placement &x = args.placements[0], &dy = args.placements[1];
  const Placement whole = Placement::replicate(), rows = Placement::shard(0), columns = Placement::shard(1);
  const int dim_of_out = input_first(args.node.attrs) ? 1 : 0;
  if (x == rows || dy == rows) return {{rows, rows}, {Placement::partial(), Placement::partial()}};
  if (dy == columns) return {{whole, columns}, {Placement::shard(dim_of_out), Placement::shard(0)}};
  if (x == columns) return {{columns, whole}, {Placement::shard(1 - dim_of_out), whole}};
  return {{whole, whole}, {whole, whole}};
}

}  // namespace

LinearGrads linear_grad(Builder& b, Value x, Value dy, bool input_first) {
  const Values results = b.add_all("linear_grad", {x, dy}, {{"input_first", input_first}});
  return {results[0], results[1]};
}

void define_linear_grad(OpTable& table) {
  OpDef op;
  op.name = "linear_grad";
  op.summary = "x [rows, in], dy [rows, out] -> dweight [out, in] or [in, out], dbias [out], in f32";
  op.min_inputs = op.max_inputs = 2;
  op.infer = infer;
  op.meaning = meaning;
  op.shard = shard;
  table.add(std::move(op));
}

}  // namespace floe
