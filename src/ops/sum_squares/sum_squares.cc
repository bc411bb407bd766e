#include "ops/sum_squares/sum_squares.h"

#include "ir/evaluate.h"
#include "ops/elementwise/elementwise.h"

namespace floe {

Value sum_squares(Builder& b, Value x) { return b.add("sum_squares", {x}); }

void define_sum_squares(OpTable& table) {
  OpDef op;
  op.name = "sum_squares";
  op.summary = "sum of squares of all elements of x -> f32 []";
  op.min_inputs = op.max_inputs = 1;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    args.require_float(0);
    return {{DType::f32, {}}};
  };
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    RefTensor out(DType::f32, {});
    for (const double x : args.inputs[0].f) out.f[0] += x * x;
    return {out};
  };
  // dx = 2 x dy
  op.gradient = [](Builder& b, const GradientArgs& args) -> Values {
    const Value x = args.inputs[0];
    return {mul(b, scale(b, x, 2), cast(b, args.d_outputs[0], b.type(x).dtype))};
  };
  op.shard = [](const ShardArgs& args) -> ShardRule {
    const bool cut = args.placements[0].kind == Placement::Kind::shard;
    if (cut) return {{args.placements[0]}, {Placement::partial()}};
    return {{Placement::replicate()}, {Placement::replicate()}};
  };
  table.add(std::move(op));
}

}  // namespace floe
