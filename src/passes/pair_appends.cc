#include "passes/pair_appends.h"

#include <algorithm>

#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ops/cache_append/cache_append.h"

namespace floe {
namespace {

enum Operand { kCache, kAdded, kTable, kPositions };

// The next append that can be written with that of node i: all that it reads comes before node i. -1: none.
int partner_of(const Graph& graph, int i, const std::vector<int>& taken) {
  const Node& first = graph.node(i);
  for (int j = i + 1; j < graph.node_count(); ++j) {
    const Node& other = graph.node(j);
    if (other.op->name != "cache_append" || std::ranges::find(taken, j) != taken.end()) continue;
    const auto same_type = [&](Operand k) {
      return graph.type(first.inputs[k]) == graph.type(other.inputs[k]);
    };
    if (other.inputs[kTable] != first.inputs[kTable] ||
        other.inputs[kPositions] != first.inputs[kPositions] || !same_type(kCache) || !same_type(kAdded) ||
        other.inputs[kCache] == first.inputs[kCache])
      continue;
    const bool ready =
        std::ranges::all_of(other.inputs, [&](Value input) { return graph.producer_index(input) < i; });
    if (ready) return j;
  }
  return -1;
}

}  // namespace

Graph pair_appends(const Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported) {
  Graph result(graph.ops(), graph.name());
  result.symbols() = graph.symbols();
  Builder b(result);
  Values map(static_cast<size_t>(graph.value_count()));
  const auto mapped = [&](Value old) -> Value& { return map[static_cast<size_t>(old.id)]; };
  std::vector<int> taken;  // nodes that were written with another
  for (int i = 0; i < graph.node_count(); ++i) {
    const Node& node = graph.node(i);
    if (std::ranges::find(taken, i) != taken.end()) continue;
    b.set_where(node.where);
    const int other = node.op->name == "cache_append" ? partner_of(graph, i, taken) : -1;
    if (other >= 0) {
      const Values& second = graph.node(other).inputs;
      const CachePair pair = cache_append_pair(b, {.first_cache = mapped(node.inputs[kCache]),
                                                   .first_added = mapped(node.inputs[kAdded]),
                                                   .second_cache = mapped(second[kCache]),
                                                   .second_added = mapped(second[kAdded]),
                                                   .table = mapped(node.inputs[kTable]),
                                                   .positions = mapped(node.inputs[kPositions])});
      if (!supported(result, result.producer(pair.first))) return graph;
      mapped(node.result()) = pair.first;
      mapped(graph.node(other).result()) = pair.second;
      taken.push_back(other);
      continue;
    }
    Values inputs;
    for (const Value input : node.inputs) inputs.push_back(mapped(input));
    const Values results = copy_node(b, node, inputs);
    for (size_t k = 0; k < results.size(); ++k) map[static_cast<size_t>(node.first.id) + k] = results[k];
  }
  for (const NamedValue& output : graph.outputs()) result.add_output(output.name, mapped(output.value));
  for (const NamedValue& update : graph.updates()) result.add_update(update.name, mapped(update.value));
  return result;
}

}  // namespace floe
