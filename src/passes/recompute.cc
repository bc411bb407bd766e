#include "passes/recompute.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/op.h"
#include "ir/rewrite.h"

namespace floe {
namespace {

// Cheap beside a product, besides the pointwise ops.
const std::set<std::string_view> kCheapOps = {"layer_norm", "rms_norm",  "softmax", "log_softmax", "rope",
                                              "reshape",    "transpose", "slice",   "concat"};

bool is_backward(const Node& node) {
  constexpr std::string_view kMark = "backward";
  const std::string& where = node.where;
  return where == kMark || where.ends_with(".backward");
}
bool is_source(const Node& node) { return node.inputs.empty(); }

bool is_in(const std::string& where, const std::string& layer) {
  return where == layer || (where.starts_with(layer) && where[layer.size()] == '.');
}

// Which nodes the backward part computes again.
std::vector<bool> chosen_nodes(const Graph& graph, const RecomputeOptions& options) {
  std::vector<bool> kept(static_cast<size_t>(graph.value_count()), false);  // read by the backward part
  for (const Node& node : graph.nodes()) {
    if (!is_backward(node)) continue;
    for (const Value input : node.inputs) kept[static_cast<size_t>(input.id)] = true;
  }
  const std::vector<std::vector<int>> users = users_of(graph);
  // What flows out of a layer is what flows into the next one: it is kept, or all would be computed from the
  // very first layer on.
  const auto flows_out = [&](const Node& node, const std::string& layer) {
    for (int r = 0; r < node.result_count(); ++r) {
      for (const int user : users[static_cast<size_t>(node.result(r).id)]) {
        if (!is_backward(graph.node(user)) && !is_in(graph.node(user).where, layer)) return true;
      }
    }
    return false;
  };
  std::vector<bool> chosen(static_cast<size_t>(graph.node_count()), false);
  std::vector<bool> cheap(chosen.size(), false);
  std::vector<bool> seen(options.layers.size(), false);
  for (int i = 0; i < graph.node_count(); ++i) {
    const Node& node = graph.node(i);
    if (is_backward(node) || is_source(node)) continue;
    const auto at = static_cast<size_t>(i);
    for (size_t k = 0; k < options.layers.size(); ++k) {
      if (!is_in(node.where, options.layers[k])) continue;
      seen[k] = true;
      if (!flows_out(node, options.layers[k])) chosen[at] = true;
    }
    if (options.cheap && (node.op->pointwise || kCheapOps.count(node.op->name) > 0)) {
      cheap[at] = std::ranges::all_of(node.inputs, [&](Value input) {
        const int producer = graph.producer_index(input);
        return is_source(graph.node(producer)) || cheap[static_cast<size_t>(producer)] ||
               (kept[static_cast<size_t>(input.id)] && !chosen[static_cast<size_t>(producer)]);
      });
    }
    chosen[at] = chosen[at] || cheap[at];
  }
  for (size_t k = 0; k < seen.size(); ++k) {
    if (!seen[k]) fail_user("[recompute] no layer '{}'", options.layers[k]);
  }
  return chosen;
}

class Recomputer {
 public:
  Recomputer(const Graph& graph, const RecomputeOptions& options)
      : graph_(graph),
        chosen_(chosen_nodes(graph, options)),
        now_(static_cast<size_t>(graph.value_count())),
        again_(now_.size()) {}

  Graph run() {
    return rewrite(graph_, [&](const RewriteContext& c) -> std::optional<Values> {
      Values inputs(c.inputs.begin(), c.inputs.end());
      if (is_backward(c.node)) {
        for (size_t k = 0; k < inputs.size(); ++k) inputs[k] = again(c.builder, c.node.inputs[k]);
        c.builder.set_where(c.node.where);
      }
      Values results = copy_node(c.builder, c.node, inputs);
      for (size_t k = 0; k < results.size(); ++k) now_[static_cast<size_t>(c.node.first.id) + k] = results[k];
      return results;
    });
  }

 private:
  // The value for readers in the backward part.
  Value again(Builder& b, Value old) {
    const int index = graph_.producer_index(old);
    if (!chosen_[static_cast<size_t>(index)]) return now_[static_cast<size_t>(old.id)];
    Value& value = again_[static_cast<size_t>(old.id)];
    if (value) return value;
    Node node = graph_.node(index);
    Values inputs;
    for (const Value input : node.inputs) inputs.push_back(again(b, input));
    node.attrs.set("recomputed", true);
    b.set_where(node.where.empty() ? "recompute" : node.where + ".recompute");
    const Values results = copy_node(b, node, inputs);
    for (size_t k = 0; k < results.size(); ++k) again_[static_cast<size_t>(node.first.id) + k] = results[k];
    return value;
  }

  const Graph& graph_;
  std::vector<bool> chosen_;
  Values now_;    // by old value: in the new graph
  Values again_;  // computed again
};

}  // namespace

Graph recompute(const Graph& graph, const RecomputeOptions& options) {
  return Recomputer(graph, options).run();
}

}  // namespace floe
