#include "passes/optimizer.h"

#include <algorithm>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "ops/adamw/adamw.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/sum_squares/sum_squares.h"
#include "passes/autodiff.h"

namespace floe {
namespace {

constexpr double kNormEpsilon = 1e-6;  // keeps clip / norm finite, as PyTorch's clip_grad_norm_ does

Value state_named(const Graph& graph, const std::string& name) {
  for (const NamedValue& state : graph.states()) {
    if (state.name == name) return state.value;
  }
  fail_bug(__FILE__, __LINE__, "no state '" + name + "'");
}

Value output_named(const Graph& graph, const std::string& name) {
  for (const NamedValue& output : graph.outputs()) {
    if (output.name == name) return output.value;
  }
  fail_user("[optimizer] the loss graph has no output '{}'", name);
}

struct Parameter {
  std::string name;
  Value value;
  Value gradient;  // sum over tokens
};

// Clips, updates every parameter, averages; gives the norm and the skip flag.
void apply_gradients(Builder& b, const std::vector<Parameter>& parameters, Value tokens,
                     const OptimizerOptions& options) {
  const Value lr = b.input("lr", {DType::f32, {}});
  const Value step = b.input("step", {DType::i32, {}});
  const Builder::Scope scope(b, "optimizer");
  Values gradients;
  for (const Parameter& p : parameters) gradients.push_back(p.gradient);
  const Value squares = sum_squares(b, gradients);
  const Value one = b.scalar(1);
  // A batch without a target token has gradient 0 and must not become NaN.
  const Value mean = div(b, one, elementwise(b, "max", {tokens, one}));
  const Value norm = mul(b, elementwise(b, "sqrt", {squares}), mean);
  // inf - inf and NaN - NaN are NaN, which equals nothing.
  const Value finite = elementwise(b, "eq", {sub(b, squares, squares), b.scalar(0)});
  const Value skip = select(b, finite, b.scalar(0), one);
  Value scale = mean;
  if (options.clip_norm > 0) {
    const Value factor = div(b, b.scalar(options.clip_norm), add(b, norm, b.scalar(kNormEpsilon)));
    scale = mul(b, mean, elementwise(b, "min", {one, factor}));
  }
  AdamW step_of_all{.lr = lr, .step = step, .scale = scale, .skip = skip};
  step_of_all.beta1 = options.beta1;
  step_of_all.beta2 = options.beta2;
  step_of_all.eps = options.epsilon;
  step_of_all.weight_decay = options.weight_decay;
  for (const Parameter& p : parameters) {
    const Type type = b.type(p.value);
    step_of_all.parameters.push_back({.param = p.value,
                                      .grad = p.gradient,
                                      .m = b.state("adam.m." + p.name, type),
                                      .v = b.state("adam.v." + p.name, type),
                                      .decays = type.rank() >= 2});
  }
  const std::vector<AdamWState> updated = adamw(b, step_of_all);
  for (size_t k = 0; k < parameters.size(); ++k) {
    const std::string& name = parameters[k].name;
    b.update(name, updated[k].param);
    b.update("adam.m." + name, updated[k].m);
    b.update("adam.v." + name, updated[k].v);
    if (options.ema_decay > 0) {
      const Value ema = b.state("ema." + name, b.type(updated[k].param));
      const Value moved = add(b, ema, mul(b, sub(b, updated[k].param, ema), b.scalar(1 - options.ema_decay)));
      b.update("ema." + name, select(b, finite, moved, ema));
    }
  }
  b.output("grad_norm", norm);
  b.output("skipped", skip);
}

}  // namespace

std::vector<std::string> trainable_states(const Graph& graph) {
  std::vector<std::string> names;
  for (const NamedValue& state : graph.states()) {
    if (graph.producer(state.value).attrs.flag("trainable", false)) names.push_back(state.name);
  }
  return names;
}

Graph train_step(const Graph& loss_graph, const OptimizerOptions& options) {
  const std::vector<std::string> names = trainable_states(loss_graph);
  Differentiated d = differentiate(renamed(loss_graph, "train"), "loss", names);
  Builder b(d.graph);
  std::vector<Parameter> parameters;
  for (const std::string& name : names) {
    parameters.push_back({name, state_named(d.graph, name), d.gradients.at(name)});
  }
  apply_gradients(b, parameters, output_named(d.graph, "tokens"), options);
  return std::move(d.graph);
}

Graph accumulate_step(const Graph& loss_graph) {
  const std::vector<std::string> names = trainable_states(loss_graph);
  Differentiated d = differentiate(renamed(loss_graph, "accumulate"), "loss", names);
  Builder b(d.graph);
  for (const std::string& name : names) {
    const Value sum = b.state("grad." + name, b.type(d.gradients.at(name)));
    b.update("grad." + name, add(b, sum, d.gradients.at(name)));
  }
  const Value tokens = b.state("grad.tokens", {DType::f32, {}});
  b.update("grad.tokens", add(b, tokens, output_named(d.graph, "tokens")));
  return std::move(d.graph);
}

Graph apply_step(const Graph& loss_graph, const OptimizerOptions& options) {
  Graph graph(loss_graph.ops(), "apply");
  Builder b(graph);
  std::vector<Parameter> parameters;
  const Value tokens = b.state("grad.tokens", {DType::f32, {}});
  for (const std::string& name : trainable_states(loss_graph)) {
    const Node& state = loss_graph.producer(state_named(loss_graph, name));
    const Value value = copy_node(b, state, {})[0];
    parameters.push_back({name, value, b.state("grad." + name, b.type(value))});
  }
  b.output("tokens", tokens);
  apply_gradients(b, parameters, tokens, options);
  for (const Parameter& p : parameters) {
    b.update("grad." + p.name, broadcast(b, b.scalar(0), b.type(p.value).dims));
  }
  b.update("grad.tokens", b.scalar(0));
  return graph;
}

}  // namespace floe
