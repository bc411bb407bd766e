#include "ops/concat/concat.h"

#include "ir/evaluate.h"
#include "ops/infer.h"
#include "ops/slice/slice.h"

namespace floe {
namespace {

constexpr int kMostInputs = 1 << 16;

std::vector<Type> infer(const InferArgs& args) {
  Type result = args.inputs[0];
  const int axis = normal_axis(args, args.attrs.integer("axis"), result.rank());
  Dim& sum = result.dims[static_cast<size_t>(axis)];
  for (size_t k = 1; k < args.inputs.size(); ++k) {
    const Type& x = args.inputs[k];
    bool fits = x.dtype == result.dtype && x.rank() == result.rank();
    for (int i = 0; fits && i < x.rank(); ++i) fits = i == axis || args.equal(x.dim(i), result.dim(i));
    if (!fits) {
      args.fail("inputs must agree but along axis {}: {} and {}", axis, text_of(args.inputs[0]), text_of(x));
    }
    sum = sum + x.dim(axis);
  }
  return {result};
}

std::vector<RefTensor> evaluate_concat(const EvalArgs& args) {
  RefTensor out(args.inputs[0].dtype, args.shapes[0]);
  const int64_t given = args.attrs.integer("axis");
  const auto axis = static_cast<size_t>(given < 0 ? given + static_cast<int64_t>(out.shape.size()) : given);
  int64_t inner = 1;
  for (size_t i = axis + 1; i < out.shape.size(); ++i) inner *= out.shape[i];
  int64_t begin = 0;
  for (const RefTensor& x : args.inputs) {
    const int64_t length = x.shape[axis] * inner;
    for (int64_t at = 0; at < x.size(); ++at) {
      const auto to =
          static_cast<size_t>(at / length * out.shape[axis] * inner + begin * inner + at % length);
      if (is_float(x.dtype)) {
        out.f[to] = x.f[static_cast<size_t>(at)];
      } else {
        out.i[to] = x.i[static_cast<size_t>(at)];
      }
    }
    begin += x.shape[axis];
  }
  return {out};
}

Values gradient(Builder& b, const GradientArgs& args) {
  const int64_t axis = args.node.attrs.integer("axis");
  Values grads;
  Dim begin(0);
  for (size_t k = 0; k < args.inputs.size(); ++k) {
    const Dim length = b.type(args.inputs[k]).dim(static_cast<int>(axis));
    grads.push_back(args.needed[k] ? slice(b, args.d_outputs[0], axis, begin, length) : Value{});
    begin = begin + length;
  }
  return grads;
}

// One cut for all, that of the first input which has one, unless it is along the axis.
ShardRule shard(const ShardArgs& args) {
  const int64_t given = args.node.attrs.integer("axis");
  const int64_t axis = given < 0 ? given + args.inputs[0].rank() : given;
  Placement at = Placement::replicate();
  for (const Placement& placement : args.placements) {
    if (at.kind == Placement::Kind::replicate && placement.kind == Placement::Kind::shard &&
        placement.dim != axis) {
      at = placement;
    }
  }
  return {std::vector<Placement>(args.placements.size(), at), {at}};
}

}  // namespace

Value concat(Builder& b, Values values, int64_t axis) {
  return b.add("concat", std::move(values), {{"axis", axis}});
}

void define_concat(OpTable& table) {
  OpDef op;
  op.name = "concat";
  op.summary = "inputs one after the other along attribute axis";
  op.min_inputs = 1;
  op.max_inputs = kMostInputs;
  op.infer = infer;
  op.evaluate = evaluate_concat;
  op.gradient = gradient;
  op.shard = shard;
  table.add(std::move(op));
}

}  // namespace floe
