#include "ir/rewrite.h"

#include "base/error.h"

namespace floe {

Values copy_node(Builder& builder, const Node& node, std::span<const Value> inputs) {
  return builder.add_all(node.op->name, Values(inputs.begin(), inputs.end()), node.attrs, node.body);
}

Graph rewrite(const Graph& graph, const RewriteRule& rule, RewriteOptions options) {
  Graph result(graph.ops(), graph.name());
  result.symbols() = graph.symbols();
  Builder builder(result);
  Values map(static_cast<size_t>(graph.value_count()));
  for (int i = 0; i < graph.node_count(); ++i) {
    const Node& node = graph.node(i);
    Values inputs;
    for (const Value input : node.inputs) inputs.push_back(map[static_cast<size_t>(input.id)]);
    builder.set_where(node.where);
    std::optional<Values> replaced = rule({builder, graph, node, i, inputs});
    const Values values = replaced ? std::move(*replaced) : copy_node(builder, node, inputs);
    FLOE_CHECK(values.size() == node.types.size(), "rewrite of '{}' gave {} values for {}", node.op->name,
               values.size(), node.types.size());
    for (size_t k = 0; k < values.size(); ++k) {
      FLOE_CHECK(options.types_may_change || result.type(values[k]) == node.types[k],
                 "rewrite of '{}' changed type {} to {}", node.op->name, text_of(node.types[k]),
                 text_of(result.type(values[k])));
      map[static_cast<size_t>(node.result(static_cast<int>(k)).id)] = values[k];
    }
  }
  for (const NamedValue& output : graph.outputs()) {
    result.add_output(output.name, map[static_cast<size_t>(output.value.id)]);
  }
  for (const NamedValue& update : graph.updates()) {
    result.add_update(update.name, map[static_cast<size_t>(update.value.id)]);
  }
  return result;
}

Graph remove_dead(const Graph& graph) {
  std::vector<bool> live(static_cast<size_t>(graph.node_count()), false);
  const auto mark = [&](Value value) { live[static_cast<size_t>(graph.producer_index(value))] = true; };
  for (const NamedValue& output : graph.outputs()) mark(output.value);
  for (const NamedValue& update : graph.updates()) mark(update.value);
  for (const NamedValue& input : graph.inputs()) mark(input.value);
  for (const NamedValue& state : graph.states()) {
    for (const NamedValue& update : graph.updates()) {
      if (update.name == state.name) mark(state.value);
    }
  }
  for (int i = graph.node_count() - 1; i >= 0; --i) {
    if (!live[static_cast<size_t>(i)]) continue;
    for (const Value input : graph.node(i).inputs) mark(input);
  }
  Graph result(graph.ops(), graph.name());
  result.symbols() = graph.symbols();
  Values map(static_cast<size_t>(graph.value_count()));
  for (int i = 0; i < graph.node_count(); ++i) {
    if (!live[static_cast<size_t>(i)]) continue;
    Node node = graph.node(i);
    const Value old_first = node.first;
    for (Value& input : node.inputs) input = map[static_cast<size_t>(input.id)];
    const Node& added = result.append(std::move(node));
    for (int k = 0; k < added.result_count(); ++k)
      map[static_cast<size_t>(old_first.id + k)] = added.result(k);
  }
  for (const NamedValue& output : graph.outputs()) {
    result.add_output(output.name, map[static_cast<size_t>(output.value.id)]);
  }
  for (const NamedValue& update : graph.updates()) {
    result.add_update(update.name, map[static_cast<size_t>(update.value.id)]);
  }
  return result;
}

Graph renamed(const Graph& graph, std::string name) {
  Graph copy = graph;
  copy.set_name(std::move(name));
  return copy;
}

Values inline_graph(Builder& builder, const Graph& graph, std::span<const Value> inputs) {
  FLOE_CHECK(inputs.size() == graph.inputs().size(), "graph '{}' takes {} inputs, got {}", graph.name(),
             graph.inputs().size(), inputs.size());
  builder.graph().symbols().merge(graph.symbols());
  Values map(static_cast<size_t>(graph.value_count()));
  size_t next = 0;
  for (const Node& node : graph.nodes()) {
    Values results;
    if (node.op->name == "input") {
      results = {inputs[next++]};
    } else {
      Values mapped;
      for (const Value input : node.inputs) mapped.push_back(map[static_cast<size_t>(input.id)]);
      results = copy_node(builder, node, mapped);
    }
    for (size_t k = 0; k < results.size(); ++k) map[static_cast<size_t>(node.first.id) + k] = results[k];
  }
  Values outputs;
  for (const NamedValue& output : graph.outputs())
    outputs.push_back(map[static_cast<size_t>(output.value.id)]);
  return outputs;
}

}  // namespace floe
