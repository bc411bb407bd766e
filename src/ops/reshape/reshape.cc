#include "ops/reshape/reshape.h"

#include "ir/evaluate.h"

namespace floe {

namespace {

// A cut dim stays cut where it stays, becomes the outer one of several, or is the outer one of those that
// merge: the elements before it are as many then as now. ([B, S, H * D] cut along heads is [B, S, H, D] cut
// along H.)
ShardRule shard(const ShardArgs& args) {
  const Placement at = args.placements[0];
  if (at.kind != Placement::Kind::shard) return {{Placement::replicate()}, {Placement::replicate()}};
  const Dims& from = args.inputs[0].dims;
  const Dims& to = args.node.types[0].dims;
  const Dim before = product({from.begin(), from.begin() + at.dim});
  for (int i = 0; i < static_cast<int>(to.size()); ++i) {
    if (product({to.begin(), to.begin() + i}) == before && to[static_cast<size_t>(i)] != Dim(1)) {
      return {{at}, {Placement::shard(i)}};
    }
  }
  return {{Placement::replicate()}, {Placement::replicate()}};
}

}  // namespace

Value reshape(Builder& b, Value x, Dims dims) {
  if (b.type(x).dims == dims) return x;
  return b.add("reshape", {x}, {{"dims", std::move(dims)}});
}

void define_reshape(OpTable& table) {
  OpDef op;
  op.name = "reshape";
  op.summary = "the same elements in row-major order under attribute dims";
  op.min_inputs = op.max_inputs = 1;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    const Type& x = args.inputs[0];
    Type result{x.dtype, args.attrs.dims("dims")};
    if (!args.equal(x.size(), result.size())) {
      args.fail("{} has {} elements, {} has {}", text_of(x), x.size().text(), text_of(result.dims),
                result.size().text());
    }
    return {result};
  };
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    RefTensor out = args.inputs[0];
    out.shape = args.shapes[0];
    return {out};
  };
  op.gradient = [](Builder& b, const GradientArgs& args) -> Values {
    return {reshape(b, args.d_outputs[0], b.type(args.inputs[0]).dims)};
  };
  op.shard = shard;
  table.add(std::move(op));
}

}  // namespace floe
