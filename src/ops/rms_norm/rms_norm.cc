#include "ops/rms_norm/rms_norm.h"

#include <cmath>

#include "ir/evaluate.h"
#include "ops/elementwise/elementwise.h"
#include "ops/infer.h"
#include "ops/reduce/reduce.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  check_norm(args);
  return {args.inputs[0]};
}

std::vector<Type> infer_grad(const InferArgs& args) {
  check_norm(args);
  args.require(args.inputs[2] == args.inputs[0], "dy must have the type of x");
  return {args.inputs[0], args.inputs[1]};
}

double rate_of(const double* x, size_t d, double eps) {
  double mean = 0;
  for (size_t i = 0; i < d; ++i) mean += x[i] * x[i] / static_cast<double>(d);
  return 1 / std::sqrt(mean + eps);
}

std::vector<RefTensor> evaluate_norm(const EvalArgs& args) {
  const RefTensor& x = args.inputs[0];
  RefTensor y(x.dtype, x.shape);
  const auto d = static_cast<size_t>(x.shape.back());
  for (size_t row = 0; d > 0 && row < x.f.size(); row += d) {
    const double r = rate_of(&x.f[row], d, args.attrs.number("eps"));
    for (size_t i = 0; i < d; ++i) y.f[row + i] = x.f[row + i] * r * args.inputs[1].f[i];
  }
  return {y};
}

// xhat = x * r, g = dy * gamma:  dx = r * (g - xhat * mean(g * xhat)),  dgamma = sum over rows of dy * xhat
std::vector<RefTensor> evaluate_norm_grad(const EvalArgs& args) {
  const RefTensor& x = args.inputs[0];
  const RefTensor& gamma = args.inputs[1];
  const RefTensor& dy = args.inputs[2];
  RefTensor dx(x.dtype, x.shape), dgamma(gamma.dtype, gamma.shape);
  const auto d = static_cast<size_t>(x.shape.back());
  for (size_t row = 0; d > 0 && row < x.f.size(); row += d) {
    const double r = rate_of(&x.f[row], d, args.attrs.number("eps"));
    double mean = 0;
    for (size_t i = 0; i < d; ++i) {
      const double xhat = x.f[row + i] * r;
      mean += dy.f[row + i] * gamma.f[i] * xhat / static_cast<double>(d);
      dgamma.f[i] += dy.f[row + i] * xhat;
    }
    for (size_t i = 0; i < d; ++i) {
      dx.f[row + i] = r * (dy.f[row + i] * gamma.f[i] - x.f[row + i] * r * mean);
    }
  }
  return {dx, dgamma};
}

struct Normalized {
  Value xhat, rate;
};
Normalized normalize(Builder& b, Value x, double eps) {
  const Value mean = reduce_mean(b, elementwise(b, "square", {x}), -1, /*keep=*/true);
  const Value rate = elementwise(b, "rsqrt", {add(b, mean, like(b, mean, eps))});
  return {mul(b, x, rate), rate};
}

Values meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const DType type = b.type(inputs[0]).dtype;
  const DType wide = type == DType::f64 ? type : DType::f32;
  const Value xhat = normalize(b, cast(b, inputs[0], wide), node.attrs.number("eps")).xhat;
  return {cast(b, mul(b, xhat, cast(b, inputs[1], wide)), type)};
}

Values meaning_grad(Builder& b, const Node& node, std::span<const Value> inputs) {
  const Type type = b.type(inputs[0]);
  const Type weight = b.type(inputs[1]);
  const DType wide = type.dtype == DType::f64 ? type.dtype : DType::f32;
  const auto [xhat, rate] = normalize(b, cast(b, inputs[0], wide), node.attrs.number("eps"));
  const Value dy = cast(b, inputs[2], wide);
  const Value g = mul(b, dy, cast(b, inputs[1], wide));
  const Value mean = reduce_mean(b, mul(b, g, xhat), -1, /*keep=*/true);
  const Value dx = mul(b, rate, sub(b, g, mul(b, xhat, mean)));
  return {cast(b, dx, type.dtype), cast(b, sum_to(b, mul(b, dy, xhat), {wide, weight.dims}), weight.dtype)};
}

Values gradient(Builder& b, const GradientArgs& args) {
  const RmsNormGrads grads =
      rms_norm_grad(b, args.inputs[0], args.inputs[1], args.d_outputs[0], args.node.attrs.number("eps"));
  return {grads.dx, grads.dgamma};
}

}  // namespace

Value rms_norm(Builder& b, Value x, Value gamma, double eps) {
  return b.add("rms_norm", {x, gamma}, {{"eps", eps}});
}

RmsNormGrads rms_norm_grad(Builder& b, Value x, Value gamma, Value dy, double eps) {
  const Values grads = b.add_all("rms_norm_grad", {x, gamma, dy}, {{"eps", eps}});
  return {grads[0], grads[1]};
}

void define_rms_norm(OpTable& table) {
  OpDef op;
  op.name = "rms_norm";
  op.summary = "(x [..., d], gamma [d]) -> y: rows made root mean square 1, then scaled";
  op.min_inputs = op.max_inputs = 2;
  op.infer = infer;
  op.evaluate = evaluate_norm;
  op.meaning = meaning;
  op.gradient = gradient;
  op.shard = [](const ShardArgs& args) -> ShardRule {
    const Placement at = whole_rows(args);
    return {{at, Placement::replicate()}, {at}};
  };
  table.add(std::move(op));

  OpDef grad;
  grad.name = "rms_norm_grad";
  grad.summary = "(x, gamma, dy) -> dx, dgamma of rms_norm";
  grad.min_inputs = grad.max_inputs = 3;
  grad.infer = infer_grad;
  grad.evaluate = evaluate_norm_grad;
  grad.meaning = meaning_grad;
  grad.shard = [](const ShardArgs& args) -> ShardRule {
    const Placement at = whole_rows(args);
    const Placement sum = at.kind == Placement::Kind::shard ? Placement::partial() : Placement::replicate();
    return {{at, Placement::replicate(), at}, {at, sum}};
  };
  table.add(std::move(grad));
}

}  // namespace floe
