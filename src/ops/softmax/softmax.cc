// y = exp(x - max) / sum(exp(x - max)) over the last dim; log_softmax is its logarithm without the detour.
#include "ops/softmax/softmax.h"

#include <cmath>
#include <limits>

#include "ir/evaluate.h"
#include "ops/elementwise/elementwise.h"
#include "ops/infer.h"
#include "ops/reduce/reduce.h"

namespace floe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<Type> infer(const InferArgs& args) {
  args.require_float(0);
  if (args.inputs[0].rank() < 1) args.fail("needs a last dim, got {}", text_of(args.inputs[0]));
  return {args.inputs[0]};
}

std::vector<RefTensor> evaluate_softmax(const EvalArgs& args) {
  const bool logarithm = args.node.op->name == "log_softmax";
  const RefTensor& x = args.inputs[0];
  RefTensor y(x.dtype, x.shape);
  const auto n = static_cast<size_t>(x.shape.back());
  for (size_t row = 0; n > 0 && row < x.f.size(); row += n) {
    double top = -kInfinity;
    for (size_t i = row; i < row + n; ++i) {
      if (!(x.f[i] <= top)) top = x.f[i];
      if (std::isnan(top)) break;
    }
    const double shift = top == -kInfinity ? 0 : top;
    double sum = 0;
    for (size_t i = row; i < row + n; ++i) sum += std::exp(x.f[i] - shift);
    for (size_t i = row; i < row + n; ++i) {
      if (logarithm) {
        y.f[i] = sum == 0 ? -kInfinity : x.f[i] - shift - std::log(sum);
      } else {
        y.f[i] = sum == 0 ? 0 : std::exp(x.f[i] - shift) / sum;
      }
    }
  }
  return {y};
}

Values meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const DType type = b.type(inputs[0]).dtype;
  const Value x = cast(b, inputs[0], type == DType::f64 ? type : DType::f32);
  const Value top = reduce_max(b, x, {-1}, /*keep=*/true);
  const Value nothing = elementwise(b, "eq", {top, like(b, x, -kInfinity)});
  const Value shifted = sub(b, x, select(b, nothing, like(b, x, 0), top));
  const Value exps = elementwise(b, "exp", {shifted});
  const Value sum = reduce_sum(b, exps, {-1}, /*keep=*/true);
  const Value y = node.op->name == "log_softmax"
                      ? select(b, nothing, shifted, sub(b, shifted, elementwise(b, "log", {sum})))
                      : div(b, exps, select(b, nothing, like(b, x, 1), sum));
  return {cast(b, y, type)};
}

Values gradient(Builder& b, const GradientArgs& args) {
  const Value y = args.outputs[0];
  const Value dy = args.d_outputs[0];
  if (args.node.op->name == "log_softmax") {
    // dx = dy - exp(y) * sum(dy)
    const Value sum = reduce_sum(b, dy, {-1}, /*keep=*/true);
    return {sub(b, dy, mul(b, elementwise(b, "exp", {y}), sum))};
  }
  // dx = y * (dy - sum(dy * y))
  const Value sum = reduce_sum(b, mul(b, dy, y), {-1}, /*keep=*/true);
  return {mul(b, y, sub(b, dy, sum))};
}

}  // namespace

Value softmax(Builder& b, Value x) { return b.add("softmax", {x}); }
Value log_softmax(Builder& b, Value x) { return b.add("log_softmax", {x}); }

void define_softmax(OpTable& table) {
  for (const char* name : {"softmax", "log_softmax"}) {
    OpDef op;
    op.name = name;
    op.summary = "over the last dim of x";
    op.min_inputs = op.max_inputs = 1;
    op.infer = infer;
    op.evaluate = evaluate_softmax;
    op.meaning = meaning;
    op.gradient = gradient;
    op.shard = [](const ShardArgs& args) -> ShardRule {
      const Placement at = whole_rows(args);
      return {{at}, {at}};
    };
    table.add(std::move(op));
  }
}

}  // namespace floe
