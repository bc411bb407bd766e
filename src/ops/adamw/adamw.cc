#include "ops/adamw/adamw.h"

#include <algorithm>
#include <cmath>

#include "ir/evaluate.h"
#include "tensor/dtype.h"

namespace floe {
namespace {

constexpr int kInputs = 4, kResults = 3;  // of a parameter
constexpr int kScalars = 4;               // lr, step, scale, skip
constexpr int kMostParameters = 1 << 16;
constexpr std::pair<int, int> kInPlace[] = {{0, 0}, {1, 2}, {2, 3}};  // (result, input) of a parameter

size_t parameters_of(size_t inputs) { return (inputs - kScalars) / kInputs; }

std::vector<int64_t> listed(const Attrs& attrs, std::string_view name, size_t parameters, bool all) {
  if (attrs.has(name)) return attrs.integers(name);
  std::vector<int64_t> list;
  for (size_t k = 0; all && k < parameters; ++k) list.push_back(static_cast<int64_t>(k));
  return list;
}

void require_list(const InferArgs& args, std::string_view name, size_t parameters) {
  int64_t next = 0;
  for (const int64_t k : listed(args.attrs, name, parameters, false)) {
    if (k < next || k >= static_cast<int64_t>(parameters))
      args.fail("{} must name some of {} parameters in order, got {}", name, parameters, k);
    next = k + 1;
  }
}

std::vector<Type> infer(const InferArgs& args) {
  const size_t count = args.inputs.size();
  if ((count - kScalars) % kInputs != 0)
    args.fail("takes {} inputs for each parameter and {} scalars, got {}", kInputs, kScalars, count);
  const size_t parameters = parameters_of(count);
  std::vector<Type> results;
  for (size_t p = 0; p < parameters; ++p) {
    const Type& param = args.inputs[p * kInputs];
    args.require_float(static_cast<int>(p * kInputs));
    for (size_t i = 1; i < kInputs; ++i) {
      const Type& x = args.inputs[p * kInputs + i];
      // A gradient may be narrower than the master weights it moves.
      bool fits = (i == 1 ? is_float(x.dtype) : x.dtype == param.dtype) && x.rank() == param.rank();
      for (int k = 0; fits && k < x.rank(); ++k) fits = args.equal(x.dim(k), param.dim(k));
      if (!fits)
        args.fail("param, grad, m and v must have one type, got {} and {}", text_of(param), text_of(x));
    }
    results.insert(results.end(), kResults, param);
  }
  for (size_t i = parameters * kInputs; i < count; ++i) {
    const Type want{i == count - 3 ? DType::i32 : DType::f32, {}};
    if (args.inputs[i] != want)
      args.fail("input {} must be {}, got {}", i, text_of(want), text_of(args.inputs[i]));
  }
  const double beta1 = args.attrs.number("beta1"), beta2 = args.attrs.number("beta2");
  if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1)) {
    args.fail("betas must be in [0, 1), got {} and {}", beta1, beta2);
  }
  require_list(args, "decayed", parameters);
  require_list(args, "copied", parameters);
  for (const int64_t p : listed(args.attrs, "copied", parameters, false))
    results.push_back({DType::bf16, args.inputs[static_cast<size_t>(p) * kInputs].dims});
  return results;
}

std::vector<RefTensor> evaluate_adamw(const EvalArgs& args) {
  const size_t parameters = parameters_of(args.inputs.size());
  const auto scalar = [&](size_t k) { return args.inputs[parameters * kInputs + k].number(0); };
  const double beta1 = args.attrs.number("beta1"), beta2 = args.attrs.number("beta2");
  const double lr = scalar(0), step = scalar(1);
  const std::vector<int64_t> decayed = listed(args.attrs, "decayed", parameters, true);
  std::vector<RefTensor> out;
  for (size_t k = 0; k < parameters; ++k) {
    const RefTensor* in = &args.inputs[k * kInputs];
    RefTensor param = in[0], moment = in[2], square = in[3];
    const bool decays = std::ranges::binary_search(decayed, static_cast<int64_t>(k));
    const double decay = decays ? args.attrs.number("weight_decay") : 0;
    for (size_t i = 0; i < param.f.size() && scalar(3) == 0; ++i) {
      const double g = in[1].f[i] * scalar(2);
      double &p = param.f[i], &m = moment.f[i], &v = square.f[i];
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      const double size = std::sqrt(v / (1 - std::pow(beta2, step))) + args.attrs.number("eps");
      p = p * (1 - lr * decay) - lr / (1 - std::pow(beta1, step)) * m / size;
    }
    out.insert(out.end(), {std::move(param), std::move(moment), std::move(square)});
  }
  for (const int64_t k : listed(args.attrs, "copied", parameters, false)) {
    RefTensor copy = out[static_cast<size_t>(k) * kResults];
    copy.dtype = DType::bf16;
    for (double& x : copy.f) x = round_to(DType::bf16, x);  // as a cast is
    out.push_back(std::move(copy));
  }
  return out;
}

ShardRule shard(const ShardArgs& args) {
  ShardRule rule{std::vector<Placement>(args.placements.size(), Placement::replicate()), {}};
  const size_t parameters = parameters_of(args.placements.size());
  std::vector<Placement> of;
  for (size_t k = 0; k < parameters; ++k) {
    const Placement given = args.placements[k * kInputs];
    of.push_back(given.kind == Placement::Kind::partial ? Placement::replicate() : given);
    std::fill_n(rule.inputs.begin() + static_cast<std::ptrdiff_t>(k * kInputs), kInputs, of[k]);
    rule.outputs.insert(rule.outputs.end(), kResults, of[k]);
  }
  for (const int64_t k : listed(args.node.attrs, "copied", parameters, false))
    rule.outputs.push_back(of[static_cast<size_t>(k)]);
  return rule;
}

std::vector<std::pair<int, int>> in_place_of(const Node& node) {
  std::vector<std::pair<int, int>> pairs;
  for (int k = 0; k < static_cast<int>(parameters_of(node.inputs.size())); ++k) {
    for (const auto& [result, input] : kInPlace)
      pairs.emplace_back(k * kResults + result, k * kInputs + input);
  }
  return pairs;
}

}  // namespace

std::vector<AdamWState> adamw(Builder& b, const AdamW& a) {
  Values inputs;
  std::vector<int64_t> decayed, copied;
  for (const AdamWParameter& p : a.parameters) {
    const auto k = static_cast<int64_t>(inputs.size() / kInputs);
    if (p.decays) decayed.push_back(k);
    if (p.copied) copied.push_back(k);
    inputs.insert(inputs.end(), {p.param, p.grad, p.m, p.v});
  }
  inputs.insert(inputs.end(), {a.lr, a.step, a.scale, a.skip});
  Attrs attrs{{"beta1", a.beta1}, {"beta2", a.beta2}, {"eps", a.eps}, {"weight_decay", a.weight_decay}};
  if (decayed.size() < a.parameters.size()) attrs.set("decayed", std::move(decayed));
  if (!copied.empty()) attrs.set("copied", copied);
  const Values v = b.add_all("adamw", std::move(inputs), std::move(attrs));
  std::vector<AdamWState> states;
  for (size_t k = 0; k < a.parameters.size(); ++k)
    states.push_back({v[k * kResults], v[k * kResults + 1], v[k * kResults + 2], {}});
  size_t next = states.size() * kResults;
  for (const int64_t k : copied) states[static_cast<size_t>(k)].copy = v[next++];
  return states;
}

void define_adamw(OpTable& table) {
  OpDef op;
  op.name = "adamw";
  op.summary =
      "(param, grad, m, v) of each parameter, lr, step, scale, skip -> (param, m, v) of each, copies";
  op.min_inputs = kInputs + kScalars;
  op.max_inputs = kMostParameters * kInputs + kScalars;
  op.infer = infer;
  op.evaluate = evaluate_adamw;
  op.differentiable = false;
  op.in_place_of = in_place_of;
  op.shard = shard;
  table.add(std::move(op));
}

}  // namespace floe
