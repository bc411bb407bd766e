#include "ops/linear_cross_entropy/linear_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/evaluate.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/reshape/reshape.h"

namespace floe {
namespace {

std::vector<Type> infer_sums(const InferArgs& args) {
  args.require_float(0);
  const Type &x = args.inputs[0], &weight = args.inputs[1], &targets = args.inputs[2];
  args.require_rank(1, 2);
  if (x.dtype != weight.dtype)
    args.fail("x and weight must have one type, got {} and {}", text_of(x), text_of(weight));
  if (x.rank() < 2 || !args.equal(x.dim(-1), weight.dim(1))) {
    args.fail("inner dims differ: x {}, weight {}", text_of(x), text_of(weight));
  }
  bool fits = targets.dtype == DType::i32 && targets.rank() == x.rank() - 1;
  for (int i = 0; fits && i < targets.rank(); ++i) fits = args.equal(targets.dim(i), x.dim(i));
  if (!fits)
    args.fail("targets must be i32 with the leading dims of x: x {}, targets {}", text_of(x),
              text_of(targets));
  const bool bias = args.attrs.flag("bias", false);
  if (bias != (args.inputs.size() == 4)) args.fail("attribute bias must say whether there is a fourth input");
  if (bias && (args.inputs[3].dtype != x.dtype || args.inputs[3].rank() != 1 ||
               !args.equal(args.inputs[3].dim(0), weight.dim(0)))) {
    args.fail("bias must be [{}], got {}", weight.dim(0).text(), text_of(args.inputs[3]));
  }
  const double smoothing = args.attrs.number("label_smoothing");
  if (!(smoothing >= 0 && smoothing < 1)) args.fail("label_smoothing must be in [0, 1), got {}", smoothing);
  return {{DType::f32, {}}, {DType::f32, {}}, {DType::f32, {}}};
}

std::vector<Type> infer_gradients(const InferArgs& args) {
  std::vector<Type> types = infer_sums(args);
  for (size_t i = 0; i < args.inputs.size(); ++i) {
    if (i != 2) types.push_back(args.inputs[i]);
  }
  return types;
}

// Sums, and gradients when the op has results for them.
std::vector<RefTensor> evaluate_both(const EvalArgs& args) {
  const RefTensor &x = args.inputs[0], &weight = args.inputs[1], &targets = args.inputs[2];
  const bool bias = args.inputs.size() > 3;
  const auto v = static_cast<size_t>(weight.shape[0]), d = static_cast<size_t>(weight.shape[1]);
  const double e = args.attrs.number("label_smoothing");
  std::vector<RefTensor> out;
  for (size_t k = 0; k < args.shapes.size(); ++k) out.emplace_back(args.node.types[k].dtype, args.shapes[k]);
  std::vector<double> logits(v);
  for (int64_t row = 0; row < targets.size(); ++row) {
    const int64_t target = targets.i[static_cast<size_t>(row)];
    if (target == args.attrs.integer("ignore_index")) continue;
    if (target < 0 || target >= weight.shape[0]) {
      fail_user("[linear_cross_entropy] target {} at position {} is outside 0..{}", target, row,
                weight.shape[0] - 1);
    }
    const double* xr = x.f.data() + static_cast<size_t>(row) * d;
    double mean = 0;
    for (size_t c = 0; c < v; ++c) {
      logits[c] = bias ? args.inputs[3].f[c] : 0;
      for (size_t j = 0; j < d; ++j) logits[c] += xr[j] * weight.f[c * d + j];
      mean += logits[c] / static_cast<double>(v);
    }
    double most = *std::max_element(logits.begin(), logits.end());
    if (!std::isfinite(mean)) most = std::numeric_limits<double>::quiet_NaN();
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - most);
    const double lse = most + std::log(sum);
    const double nll = lse - logits[static_cast<size_t>(target)];
    out[0].f[0] += (1 - e) * nll + e * (lse - mean);
    out[1].f[0] += nll;
    out[2].f[0] += 1;
    if (out.size() == 3) continue;
    for (size_t c = 0; c < v; ++c) {
      const double g = std::exp(logits[c] - lse) - e / static_cast<double>(v) -
                       (c == static_cast<size_t>(target) ? 1 - e : 0);
      for (size_t j = 0; j < d; ++j) {
        out[3].f[static_cast<size_t>(row) * d + j] += g * weight.f[c * d + j];
        out[4].f[c * d + j] += g * xr[j];
      }
      if (bias) out[5].f[c] += g;
    }
  }
  return out;
}

// Values that both meanings share; [..., V] unless noted.
struct Parts {
  Value probabilities, one_hot;
  Value counted;  // bool [..., 1]
  CrossEntropySums sums;
};

Parts parts_of(Builder& b, const Node& node, std::span<const Value> inputs) {
  const Dim classes = b.type(inputs[1]).dim(0);
  FLOE_CHECK(classes.is_constant(), "linear_cross_entropy over a symbolic number of classes {}",
             classes.text());
  const int64_t v = classes.constant();
  const double e = node.attrs.number("label_smoothing");
  const int last = b.type(inputs[0]).rank() - 1;
  const Value logits = linear(b, inputs[0], inputs[1], inputs.size() > 3 ? inputs[3] : Value{});
  Dims column = b.type(inputs[2]).dims;
  column.emplace_back(1);
  const Value targets = reshape(b, inputs[2], column);
  Tensor iota(DType::i32, {v});
  for (int64_t c = 0; c < v; ++c) iota.as<int32_t>()[c] = static_cast<int32_t>(c);
  Parts parts;
  parts.one_hot = cast(b, elementwise(b, "eq", {targets, b.constant(std::move(iota))}), b.type(logits).dtype);
  const Value ignored = b.scalar(static_cast<double>(node.attrs.integer("ignore_index")), DType::i32);
  parts.counted = elementwise(b, "ne", {targets, ignored});
  const Value shifted = sub(b, logits, reduce_max(b, logits, {last}, /*keep=*/true));
  const Value lse =
      elementwise(b, "log", {reduce_sum(b, elementwise(b, "exp", {shifted}), {last}, /*keep=*/true)});
  const Value minus_log = sub(b, lse, shifted);
  parts.probabilities = elementwise(b, "exp", {elementwise(b, "neg", {minus_log})});
  // Times the one-hot: a class of probability 0 gives inf * 0 = NaN, which is what a logit of -inf must give.
  const Value nll = reduce_sum(b, mul(b, minus_log, parts.one_hot), {last}, /*keep=*/true);
  const Value mean = scale(b, reduce_sum(b, minus_log, {last}, /*keep=*/true), 1.0 / static_cast<double>(v));
  const Value loss = add(b, scale(b, nll, 1 - e), scale(b, mean, e));
  std::vector<int64_t> all;
  for (int i = 0; i <= last; ++i) all.push_back(i);
  const auto total = [&](Value value) {
    return cast(b, reduce_sum(b, select(b, parts.counted, value, like(b, value, 0)), all, /*keep=*/false),
                DType::f32);
  };
  const Value ones = broadcast(b, like(b, loss, 1), column);
  parts.sums = {total(loss), total(nll), total(ones)};
  return parts;
}

Values sums_meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const CrossEntropySums sums = parts_of(b, node, inputs).sums;
  return {sums.loss, sums.nll, sums.tokens};
}

// dlogits = softmax(logits) - (1 - e) one_hot - e / V
Values gradients_meaning(Builder& b, const Node& node, std::span<const Value> inputs) {
  const Parts parts = parts_of(b, node, inputs);
  const double e = node.attrs.number("label_smoothing");
  const auto v = static_cast<double>(b.type(inputs[1]).dim(0).constant());
  Value g = sub(b, parts.probabilities, scale(b, parts.one_hot, 1 - e));
  g = sub(b, g, like(b, g, e / v));
  g = select(b, parts.counted, g, like(b, g, 0));
  const auto as_matrix = [&](Value value) {
    const Dims& dims = b.type(value).dims;
    return reshape(b, value, {product({dims.begin(), dims.end() - 1}), dims.back()});
  };
  const Value rows = as_matrix(g);
  Value x = as_matrix(inputs[0]);
  const Value counted = reshape(b, parts.counted, {b.type(rows).dim(0), Dim(1)});
  x = select(b, counted, x, like(b, x, 0));  // a NaN at an ignored position must not reach dweight
  Values results{parts.sums.loss, parts.sums.nll, parts.sums.tokens, matmul(b, g, inputs[1]),
                 matmul(b, rows, x, {.transpose_a = true})};
  if (inputs.size() > 3) results.push_back(reduce_sum(b, rows, {0}, /*keep=*/false));
  return results;
}

Values gradient(Builder& b, const GradientArgs& args) {
  if (args.d_outputs[1] || args.d_outputs[2]) {
    fail_user("[linear_cross_entropy] only the loss has a gradient, not nll or tokens");
  }
  const Values all =
      b.add_all("linear_cross_entropy_grad", {args.inputs.begin(), args.inputs.end()}, args.node.attrs);
  const auto scaled = [&](size_t result) {
    return mul(b, all[result], cast(b, args.d_outputs[0], b.type(all[result]).dtype));
  };
  Values grads{scaled(3), scaled(4), {}};
  if (args.inputs.size() > 3) grads.push_back(scaled(5));
  return grads;
}

Values add_node(Builder& b, std::string_view op, const LinearCrossEntropy& args) {
  Values inputs{args.x, args.weight, args.targets};
  if (args.bias) inputs.push_back(args.bias);
  return b.add_all(op, std::move(inputs),
                   {{"label_smoothing", args.label_smoothing},
                    {"ignore_index", args.ignore_index},
                    {"bias", static_cast<bool>(args.bias)}});
}

}  // namespace

CrossEntropySums linear_cross_entropy(Builder& b, const LinearCrossEntropy& args) {
  const Values v = add_node(b, "linear_cross_entropy", args);
  return {v[0], v[1], v[2]};
}

CrossEntropyGradients linear_cross_entropy_grad(Builder& b, const LinearCrossEntropy& args) {
  const Values v = add_node(b, "linear_cross_entropy_grad", args);
  return {{v[0], v[1], v[2]}, v[3], v[4], v.size() > 5 ? v[5] : Value{}};
}

void define_linear_cross_entropy(OpTable& table) {
  OpDef sums;
  sums.name = "linear_cross_entropy";
  sums.summary = "x [..., d], weight [V, d], targets [...], bias [V] -> sums: loss, nll, tokens";
  sums.min_inputs = 3;
  sums.max_inputs = 4;
  sums.infer = infer_sums;
  sums.evaluate = evaluate_both;
  sums.meaning = sums_meaning;
  sums.gradient = gradient;
  table.add(std::move(sums));

  OpDef gradients;
  gradients.name = "linear_cross_entropy_grad";
  gradients.summary = "inputs of linear_cross_entropy -> loss, nll, tokens, dx, dweight, dbias";
  gradients.min_inputs = 3;
  gradients.max_inputs = 4;
  gradients.infer = infer_gradients;
  gradients.evaluate = evaluate_both;
  gradients.meaning = gradients_meaning;
  gradients.differentiable = false;
  table.add(std::move(gradients));
}

}  // namespace floe
