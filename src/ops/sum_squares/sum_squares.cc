#include "ops/sum_squares/sum_squares.h"

#include <algorithm>

#include "ir/evaluate.h"
#include "ops/elementwise/elementwise.h"

namespace floe {
namespace {

constexpr int kMostInputs = 1 << 16;

}  // namespace

Value sum_squares(Builder& b, Values xs) { return b.add("sum_squares", std::move(xs)); }

void define_sum_squares(OpTable& table) {
  OpDef op;
  op.name = "sum_squares";
  op.summary = "sum of squares of all elements of all operands -> f32 []";
  op.min_inputs = 1;
  op.max_inputs = kMostInputs;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    args.require_float(0);
    for (const Type& x : args.inputs) {
      if (x.dtype != args.inputs[0].dtype)
        args.fail("operands must have one type, got {} and {}", text_of(args.inputs[0]), text_of(x));
    }
    return {{DType::f32, {}}};
  };
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    RefTensor out(DType::f32, {});
    for (const RefTensor& tensor : args.inputs) {
      for (const double x : tensor.f) out.f[0] += x * x;
    }
    return {out};
  };
  // dx = 2 x dy
  op.gradient = [](Builder& b, const GradientArgs& args) -> Values {
    Values grads(args.inputs.size());
    for (size_t i = 0; i < grads.size(); ++i) {
      const Value x = args.inputs[i];
      if (args.needed[i]) grads[i] = mul(b, scale(b, x, 2), cast(b, args.d_outputs[0], b.type(x).dtype));
    }
    return grads;
  };
  op.shard = [](const ShardArgs& args) -> ShardRule {
    const bool cut = std::ranges::all_of(
        args.placements, [](const Placement& at) { return at.kind == Placement::Kind::shard; });
    if (cut) return {{args.placements.begin(), args.placements.end()}, {Placement::partial()}};
    return {std::vector<Placement>(args.inputs.size(), Placement::replicate()), {Placement::replicate()}};
  };
  table.add(std::move(op));
}

}  // namespace floe
