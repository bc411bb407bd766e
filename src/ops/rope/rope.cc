#include "ops/rope/rope.h"

#include <cmath>

#include "ir/evaluate.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  args.require_float(0);
  args.require_rank(0, 4);
  args.require_rank(1, 2);
  const Type& x = args.inputs[0];
  const Type& positions = args.inputs[1];
  if (positions.dtype != DType::i32) args.fail("positions must be i32, got {}", text_of(positions));
  if (!x.dim(3).is_constant() || x.dim(3).constant() % 2 != 0) {
    args.fail("the last dim of x must be an even number, got {}", text_of(x));
  }
  if (!args.equal(x.dim(0), positions.dim(0)) || !args.equal(x.dim(1), positions.dim(1))) {
    args.fail("positions must be [{}, {}], got {}", x.dim(0).text(), x.dim(1).text(), text_of(positions));
  }
  if (!(args.attrs.number("base") > 0)) args.fail("base must be above 0, got {}", args.attrs.number("base"));
  return {x};
}

std::vector<RefTensor> evaluate_rope(const EvalArgs& args) {
  const RefTensor& x = args.inputs[0];
  RefTensor y(x.dtype, x.shape);
  const int64_t heads = x.shape[2];
  const int64_t width = x.shape[3];
  const bool interleaved = args.attrs.flag("interleaved");
  for (int64_t token = 0; token < x.shape[0] * x.shape[1]; ++token) {
    const auto position = static_cast<double>(args.inputs[1].i[static_cast<size_t>(token)]);
    for (int64_t i = 0; i < width / 2; ++i) {
      const double rate =
          std::pow(args.attrs.number("base"), -2.0 * static_cast<double>(i) / static_cast<double>(width));
      const double angle = position * rate * (args.attrs.flag("inverse") ? -1 : 1);
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t row = (token * heads + head) * width;
        const auto first = static_cast<size_t>(row + (interleaved ? 2 * i : i));
        const auto second = static_cast<size_t>(row + (interleaved ? 2 * i + 1 : i + width / 2));
        y.f[first] = x.f[first] * std::cos(angle) - x.f[second] * std::sin(angle);
        y.f[second] = x.f[first] * std::sin(angle) + x.f[second] * std::cos(angle);
      }
    }
  }
  return {y};
}

Values gradient(Builder& b, const GradientArgs& args) {
  const Attrs& attrs = args.node.attrs;
  return {rope(b, args.d_outputs[0], args.inputs[1],
               {attrs.number("base"), attrs.flag("interleaved"), !attrs.flag("inverse")}),
          {}};
}

}  // namespace

Value rope(Builder& b, Value x, Value positions, RopeOptions options) {
  return b.add("rope", {x, positions},
               {{"base", options.base}, {"interleaved", options.interleaved}, {"inverse", options.inverse}});
}

void define_rope(OpTable& table) {
  OpDef op;
  op.name = "rope";
  op.summary =
      "(x [B, S, H, D], positions i32 [B, S]) -> x with each pair of features turned by its position";
  op.min_inputs = op.max_inputs = 2;
  op.infer = infer;
  op.evaluate = evaluate_rope;
  op.gradient = gradient;
  // Heads are independent.
  op.shard = [](const ShardArgs& args) -> ShardRule {
    Placement at = Placement::replicate();
    if (args.placements[0] == Placement::shard(2)) at = Placement::shard(2);
    return {{at, Placement::replicate()}, {at}};
  };
  table.add(std::move(op));
}

}  // namespace floe
