#include "ops/adamw/adamw.h"

#include <algorithm>
#include <cmath>

#include "ir/evaluate.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  args.require_float(0);
  const Type& param = args.inputs[0];
  for (size_t i = 1; i < 4; ++i) {
    const Type& x = args.inputs[i];
    // A gradient may be narrower than the master weights it moves.
    bool fits = (i == 1 ? is_float(x.dtype) : x.dtype == param.dtype) && x.rank() == param.rank();
    for (int k = 0; fits && k < x.rank(); ++k) fits = args.equal(x.dim(k), param.dim(k));
    if (!fits)
      args.fail("param, grad, m and v must have one type, got {} and {}", text_of(param), text_of(x));
  }
  for (size_t i = 4; i < 8; ++i) {
    const Type want{i == 5 ? DType::i32 : DType::f32, {}};
    if (args.inputs[i] != want)
      args.fail("input {} must be {}, got {}", i, text_of(want), text_of(args.inputs[i]));
  }
  const double beta1 = args.attrs.number("beta1"), beta2 = args.attrs.number("beta2");
  if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1)) {
    args.fail("betas must be in [0, 1), got {} and {}", beta1, beta2);
  }
  return {param, args.inputs[2], args.inputs[3]};
}

std::vector<RefTensor> evaluate_adamw(const EvalArgs& args) {
  const auto scalar = [&](size_t input) { return args.inputs[input].number(0); };
  std::vector<RefTensor> out{args.inputs[0], args.inputs[2], args.inputs[3]};
  if (scalar(7) != 0) return out;
  const double beta1 = args.attrs.number("beta1"), beta2 = args.attrs.number("beta2");
  const double lr = scalar(4), step = scalar(5);
  for (size_t i = 0; i < out[0].f.size(); ++i) {
    const double g = args.inputs[1].f[i] * scalar(6);
    double &p = out[0].f[i], &m = out[1].f[i], &v = out[2].f[i];
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    const double size = std::sqrt(v / (1 - std::pow(beta2, step))) + args.attrs.number("eps");
    p = p * (1 - lr * args.attrs.number("weight_decay")) - lr / (1 - std::pow(beta1, step)) * m / size;
  }
  return out;
}

}  // namespace

AdamWState adamw(Builder& b, const AdamW& a) {
  const Values v =
      b.add_all("adamw", {a.param, a.grad, a.m, a.v, a.lr, a.step, a.scale, a.skip},
                {{"beta1", a.beta1}, {"beta2", a.beta2}, {"eps", a.eps}, {"weight_decay", a.weight_decay}});
  return {v[0], v[1], v[2]};
}

void define_adamw(OpTable& table) {
  OpDef op;
  op.name = "adamw";
  op.summary = "param, grad, m, v, lr, step, scale, skip -> param, m, v after a step";
  op.min_inputs = op.max_inputs = 8;
  op.infer = infer;
  op.evaluate = evaluate_adamw;
  op.differentiable = false;
  op.in_place = {{0, 0}, {1, 2}, {2, 3}};
  op.shard = [](const ShardArgs& args) -> ShardRule {
    const Placement at =
        args.placements[0].kind == Placement::Kind::partial ? Placement::replicate() : args.placements[0];
    ShardRule rule{std::vector<Placement>(8, Placement::replicate()), {at, at, at}};
    std::fill_n(rule.inputs.begin(), 4, at);
    return rule;
  };
  table.add(std::move(op));
}

}  // namespace floe
