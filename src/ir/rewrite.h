// The one engine under every pass: walk a graph in order and build another. For each node a rule may give the
// values that replace its results (built with the Builder, reading the new graph); otherwise the node is
// copied.
#pragma once
#include <functional>
#include <optional>
#include <span>

#include "ir/builder.h"
#include "ir/graph.h"

namespace floe {

struct RewriteContext {
  Builder& builder;  // of the new graph
  const Graph& old_graph;
  const Node& node;  // in the old graph
  int node_index;
  std::span<const Value> inputs;  // in the new graph
};
using RewriteRule = std::function<std::optional<Values>(const RewriteContext&)>;

// Keeps inputs, states, outputs, updates, dims and layer names. Types of replaced values must stay equal
// unless `types_may_change`: a pass that changes dtypes or cuts dims.
struct RewriteOptions {
  bool types_may_change = false;
};
Graph rewrite(const Graph& graph, const RewriteRule& rule, RewriteOptions options = {});

// Nodes that no output or update needs are left out; inputs stay (a feed is part of the door), states that
// are neither read nor updated go.
Graph remove_dead(const Graph& graph);

// The same graph under another name.
Graph renamed(const Graph& graph, std::string name);

// Copies one node onto new inputs; types are inferred again.
Values copy_node(Builder& builder, const Node& node, std::span<const Value> inputs);

// Appends what `graph` computes from values for its inputs; gives its outputs. Its dims are declared too, its
// states become states of the builder's graph.
Values inline_graph(Builder& builder, const Graph& graph, std::span<const Value> inputs);

}  // namespace floe
