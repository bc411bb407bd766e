#include "passes/autodiff.h"

#include <algorithm>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"

namespace floe {
namespace {

Value named(const std::vector<NamedValue>& list, const std::string& name) {
  for (const NamedValue& entry : list) {
    if (entry.name == name) return entry.value;
  }
  return {};
}

// Values that depend on a variable.
std::vector<bool> reached_from(const Graph& graph, const Values& sources) {
  std::vector<bool> reached(static_cast<size_t>(graph.value_count()), false);
  for (const Value source : sources) reached[static_cast<size_t>(source.id)] = true;
  for (const Node& node : graph.nodes()) {
    const bool any = std::any_of(node.inputs.begin(), node.inputs.end(),
                                 [&](Value v) { return reached[static_cast<size_t>(v.id)]; });
    if (!any || !node.op->differentiable) continue;
    for (int i = 0; i < node.result_count(); ++i) {
      if (is_float(node.types[static_cast<size_t>(i)].dtype))
        reached[static_cast<size_t>(node.first.id + i)] = true;
    }
  }
  return reached;
}

Values variables(const Graph& graph, const std::vector<std::string>& wrt) {
  Values values;
  for (const std::string& name : wrt) {
    Value value = named(graph.states(), name);
    if (!value) value = named(graph.inputs(), name);
    if (!value) fail_user("[autodiff] no state or input '{}'", name);
    if (!is_float(graph.type(value).dtype)) {
      fail_user("[autodiff] '{}' is {}: only floating variables have gradients", name,
                text_of(graph.type(value)));
    }
    values.push_back(value);
  }
  return values;
}

// Inlines the meaning of every op on the way that has no gradient of its own, until none is left.
Graph with_gradients_everywhere(Graph graph, const std::vector<std::string>& wrt) {
  for (;;) {
    const std::vector<bool> reached = reached_from(graph, variables(graph, wrt));
    bool again = false;
    Graph next = rewrite(graph, [&](const RewriteContext& c) -> std::optional<Values> {
      const OpDef& op = *c.node.op;
      const bool on_path = c.node.result_count() > 0 && !c.node.inputs.empty() && op.differentiable &&
                           std::any_of(c.node.inputs.begin(), c.node.inputs.end(),
                                       [&](Value v) { return reached[static_cast<size_t>(v.id)]; });
      if (!on_path || op.gradient) return std::nullopt;
      if (!op.meaning) fail_user("[autodiff] op '{}' has neither a gradient nor a meaning", op.name);
      again = true;
      return op.meaning(c.builder, c.node, c.inputs);
    });
    if (!again) return graph;
    graph = std::move(next);
  }
}

}  // namespace

Differentiated differentiate(const Graph& original, const std::string& loss,
                             const std::vector<std::string>& wrt) {
  const Value original_loss = named(original.outputs(), loss);
  if (!original_loss) fail_user("[autodiff] no output '{}'", loss);
  if (original.type(original_loss).rank() != 0 || !is_float(original.type(original_loss).dtype)) {
    fail_user("[autodiff] the loss '{}' must be a floating scalar, got {}", loss,
              text_of(original.type(original_loss)));
  }
  Graph forward = with_gradients_everywhere(original, wrt);
  const Values sources = variables(forward, wrt);
  const std::vector<bool> reached = reached_from(forward, sources);
  const int forward_nodes = forward.node_count();
  const Value loss_value = named(forward.outputs(), loss);

  Differentiated result{std::move(forward), {}};
  Graph& graph = result.graph;
  Builder b(graph);
  Values gradients(static_cast<size_t>(graph.value_count()));  // of forward values
  const auto accumulate = [&](Value of, Value gradient) {
    Value& slot = gradients[static_cast<size_t>(of.id)];
    slot = slot ? add(b, slot, gradient) : gradient;
  };
  if (reached[static_cast<size_t>(loss_value.id)]) accumulate(loss_value, like(b, loss_value, 1));

  for (int i = forward_nodes - 1; i >= 0; --i) {
    const Node node = graph.node(i);  // a copy: the graph grows below
    if (node.inputs.empty() || !node.op->differentiable) continue;
    Values d_outputs;
    bool any = false;
    for (int k = 0; k < node.result_count(); ++k) {
      d_outputs.push_back(gradients[static_cast<size_t>(node.result(k).id)]);
      any = any || d_outputs.back();
    }
    std::vector<bool> needed;
    for (const Value input : node.inputs) needed.push_back(reached[static_cast<size_t>(input.id)]);
    if (!any || std::none_of(needed.begin(), needed.end(), [](bool n) { return n; })) continue;
    Values outputs;
    for (int k = 0; k < node.result_count(); ++k) outputs.push_back(node.result(k));
    b.set_where(node.where.empty() ? "backward" : node.where + ".backward");
    const Values d_inputs = node.op->gradient(b, {node, node.inputs, outputs, d_outputs, needed});
    FLOE_CHECK(d_inputs.size() == node.inputs.size(), "gradient of '{}' gave {} values for {} inputs",
               node.op->name, d_inputs.size(), node.inputs.size());
    for (size_t k = 0; k < d_inputs.size(); ++k) {
      if (!d_inputs[k] || !needed[k]) continue;
      FLOE_CHECK(graph.type(d_inputs[k]) == graph.type(node.inputs[k]),
                 "gradient of '{}' by input {} is {}, the input {}", node.op->name, k,
                 text_of(graph.type(d_inputs[k])), text_of(graph.type(node.inputs[k])));
      accumulate(node.inputs[k], d_inputs[k]);
    }
  }
  b.set_where("backward");
  for (size_t k = 0; k < wrt.size(); ++k) {
    Value gradient = gradients[static_cast<size_t>(sources[k].id)];
    if (!gradient) gradient = broadcast(b, like(b, sources[k], 0), graph.type(sources[k]).dims);
    result.gradients[wrt[k]] = gradient;
  }
  return result;
}

}  // namespace floe
