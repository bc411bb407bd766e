#include "ops/layer_norm/layer_norm.h"

#include <cmath>

#include "ir/evaluate.h"
#include "ops/elementwise/elementwise.h"
#include "ops/infer.h"
#include "ops/reduce/reduce.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  check_norm(args);
  args.require(args.inputs[2] == args.inputs[1], "gamma and beta must have one type");
  return {args.inputs[0]};
}

std::vector<Type> infer_grad(const InferArgs& args) {
  check_norm(args);
  args.require(args.inputs[2] == args.inputs[0], "dy must have the type of x");
  return {args.inputs[0], args.inputs[1], args.inputs[1]};
}

struct Moments {
  double mean = 0;
  double rstd = 0;
};
Moments moments_of(const double* x, size_t d, double eps) {
  Moments m;
  for (size_t i = 0; i < d; ++i) m.mean += x[i] / static_cast<double>(d);
  double variance = 0;
  for (size_t i = 0; i < d; ++i) variance += (x[i] - m.mean) * (x[i] - m.mean) / static_cast<double>(d);
  m.rstd = 1 / std::sqrt(variance + eps);
  return m;
}

std::vector<RefTensor> evaluate_norm(const EvalArgs& args) {
  const RefTensor& x = args.inputs[0];
  RefTensor y(x.dtype, x.shape);
  const auto d = static_cast<size_t>(x.shape.back());
  for (size_t row = 0; d > 0 && row < x.f.size(); row += d) {
    const Moments m = moments_of(&x.f[row], d, args.attrs.number("eps"));
    for (size_t i = 0; i < d; ++i) {
      y.f[row + i] = (x.f[row + i] - m.mean) * m.rstd * args.inputs[1].f[i] + args.inputs[2].f[i];
    }
  }
  return {y};
}

// xhat = (x - mean) * rstd, g = dy * gamma:
// dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),  dgamma = sum over rows of dy * xhat,  dbeta = sum of dy
std::vector<RefTensor> evaluate_norm_grad(const EvalArgs& args) {
  const RefTensor& x = args.inputs[0];
  const RefTensor& gamma = args.inputs[1];
  const RefTensor& dy = args.inputs[2];
  RefTensor dx(x.dtype, x.shape), dgamma(gamma.dtype, gamma.shape), dbeta(gamma.dtype, gamma.shape);
  const auto d = static_cast<size_t>(x.shape.back());
  const auto n = static_cast<double>(d);
  for (size_t row = 0; d > 0 && row < x.f.size(); row += d) {
    const Moments m = moments_of(&x.f[row], d, args.attrs.number("eps"));
    double mean_g = 0, mean_gx = 0;
    for (size_t i = 0; i < d; ++i) {
      const double xhat = (x.f[row + i] - m.mean) * m.rstd;
      const double g = dy.f[row + i] * gamma.f[i];
      mean_g += g / n;
      mean_gx += g * xhat / n;
      dgamma.f[i] += dy.f[row + i] * xhat;
      dbeta.f[i] += dy.f[row + i];
    }
    for (size_t i = 0; i < d; ++i) {
      const double xhat = (x.f[row + i] - m.mean) * m.rstd;
      dx.f[row + i] = m.rstd * (dy.f[row + i] * gamma.f[i] - mean_g - xhat * mean_gx);
    }
  }
  return {dx, dgamma, dbeta};
}

struct Normalized {
  Value xhat, rstd;
};
Normalized normalize(Builder& b, Value x, double eps) {
  const Value centred = sub(b, x, reduce_mean(b, x, -1, /*keep=*/true));
  const Value variance = reduce_mean(b, elementwise(b, "square", {centred}), -1, /*keep=*/true);
  const Value rstd = elementwise(b, "rsqrt", {add(b, variance, like(b, variance, eps))});
  return {mul(b, centred, rstd), rstd};
}

Values meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const DType type = b.type(inputs[0]).dtype;
  const DType wide = type == DType::f64 ? type : DType::f32;
  const Value xhat = normalize(b, cast(b, inputs[0], wide), node.attrs.number("eps")).xhat;
  const Value y = add(b, mul(b, xhat, cast(b, inputs[1], wide)), cast(b, inputs[2], wide));
  return {cast(b, y, type)};
}

Values meaning_grad(Builder& b, const Node& node, std::span<const Value> inputs) {
  const Type type = b.type(inputs[0]);
  const Type weight = b.type(inputs[1]);
  const DType wide = type.dtype == DType::f64 ? type.dtype : DType::f32;
  const auto [xhat, rstd] = normalize(b, cast(b, inputs[0], wide), node.attrs.number("eps"));
  const Value dy = cast(b, inputs[2], wide);
  const Value g = mul(b, dy, cast(b, inputs[1], wide));
  const Value mean_g = reduce_mean(b, g, -1, /*keep=*/true);
  const Value mean_gx = reduce_mean(b, mul(b, g, xhat), -1, /*keep=*/true);
  const Value dx = mul(b, rstd, sub(b, sub(b, g, mean_g), mul(b, xhat, mean_gx)));
  const Type sum{wide, weight.dims};
  return {cast(b, dx, type.dtype), cast(b, sum_to(b, mul(b, dy, xhat), sum), weight.dtype),
          cast(b, sum_to(b, dy, sum), weight.dtype)};
}

Values gradient(Builder& b, const GradientArgs& args) {
  const LayerNormGrads grads =
      layer_norm_grad(b, args.inputs[0], args.inputs[1], args.d_outputs[0], args.node.attrs.number("eps"));
  return {grads.dx, grads.dgamma, grads.dbeta};
}

}  // namespace

Value layer_norm(Builder& b, Value x, Value gamma, Value beta, double eps) {
  return b.add("layer_norm", {x, gamma, beta}, {{"eps", eps}});
}

LayerNormGrads layer_norm_grad(Builder& b, Value x, Value gamma, Value dy, double eps) {
  const Values grads = b.add_all("layer_norm_grad", {x, gamma, dy}, {{"eps", eps}});
  return {grads[0], grads[1], grads[2]};
}

void define_layer_norm(OpTable& table) {
  OpDef op;
  op.name = "layer_norm";
  op.summary =
      "(x [..., d], gamma [d], beta [d]) -> y: rows made mean 0 and variance 1, then scaled and shifted";
  op.min_inputs = op.max_inputs = 3;
  op.infer = infer;
  op.evaluate = evaluate_norm;
  op.meaning = meaning;
  op.gradient = gradient;
  op.shard = [](const ShardArgs& args) -> ShardRule {
    const Placement at = whole_rows(args);
    return {{at, Placement::replicate(), Placement::replicate()}, {at}};
  };
  table.add(std::move(op));

  OpDef grad;
  grad.name = "layer_norm_grad";
  grad.summary = "(x, gamma, dy) -> dx, dgamma, dbeta of layer_norm";
  grad.min_inputs = grad.max_inputs = 3;
  grad.infer = infer_grad;
  grad.evaluate = evaluate_norm_grad;
  grad.meaning = meaning_grad;
  grad.shard = [](const ShardArgs& args) -> ShardRule {
    const Placement at = whole_rows(args);
    const Placement sum = at.kind == Placement::Kind::shard ? Placement::partial() : Placement::replicate();
    return {{at, Placement::replicate(), at}, {at, sum, sum}};
  };
  table.add(std::move(grad));
}

}  // namespace floe
