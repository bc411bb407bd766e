#include "passes/append_attention.h"

#include <map>
#include <set>

#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ops/paged_attention/append_attention.h"

namespace floe {
namespace {

enum PairOperand { kFirstCache, kFirstAdded, kSecondCache, kSecondAdded, kPairTable, kPositions };
enum AttentionOperand { kQ, kKCache, kVCache, kTable, kLengths };

class Joiner {
 public:
  explicit Joiner(const Graph& graph) : graph_(graph), users_(users_of(graph)) {
    for (int i = 0; i < graph.node_count(); ++i) {
      if (const int pair = pair_before(i); pair >= 0) pair_of_[i] = pair;
    }
    for (const auto& [attention, pair] : pair_of_) gone_.insert(pair);
  }

  bool found() const { return !pair_of_.empty(); }

  // The last node that was made is given in `made`.
  Graph run(int* made) const {
    Graph result(graph_.ops(), graph_.name());
    result.symbols() = graph_.symbols();
    Builder b(result);
    Values map(static_cast<size_t>(graph_.value_count()));
    const auto get = [&](Value value) { return map[static_cast<size_t>(value.id)]; };
    for (int i = 0; i < graph_.node_count(); ++i) {
      const Node& node = graph_.node(i);
      if (gone_.count(i) != 0) continue;
      b.set_where(node.where);
      const auto found = pair_of_.find(i);
      if (found == pair_of_.end()) {
        Values inputs;
        for (const Value input : node.inputs) inputs.push_back(get(input));
        const Values results = copy_node(b, node, inputs);
        for (size_t k = 0; k < results.size(); ++k) map[static_cast<size_t>(node.first.id) + k] = results[k];
        continue;
      }
      const Node& pair = graph_.node(found->second);
      const bool keys_first = node.inputs[kKCache] == pair.first;
      const AppendAttention joined =
          append_attention(b, {.q = get(node.inputs[kQ]),
                               .k = get(pair.inputs[keys_first ? kFirstAdded : kSecondAdded]),
                               .v = get(pair.inputs[keys_first ? kSecondAdded : kFirstAdded]),
                               .k_cache = get(pair.inputs[keys_first ? kFirstCache : kSecondCache]),
                               .v_cache = get(pair.inputs[keys_first ? kSecondCache : kFirstCache]),
                               .table = get(node.inputs[kTable]),
                               .positions = get(pair.inputs[kPositions]),
                               .lengths = get(node.inputs[kLengths]),
                               .causal = node.attrs.flag("causal"),
                               .scale = node.attrs.number("scale")});
      map[static_cast<size_t>(node.result().id)] = joined.out;
      map[static_cast<size_t>(node.inputs[kKCache].id)] = joined.k_cache;
      map[static_cast<size_t>(node.inputs[kVCache].id)] = joined.v_cache;
      *made = result.producer_index(joined.out);
    }
    for (const NamedValue& output : graph_.outputs()) result.add_output(output.name, get(output.value));
    for (const NamedValue& update : graph_.updates()) result.add_update(update.name, get(update.value));
    return result;
  }

 private:
  // The pair whose two results attention i reads, and nobody else but the ends of the graph; -1 where there
  // is none, or where it is of more than one position.
  int pair_before(int i) const {
    const Node& node = graph_.node(i);
    if (node.op->name != "paged_attention" || node.inputs[kKCache] == node.inputs[kVCache]) return -1;
    const int pair = graph_.producer_index(node.inputs[kKCache]);
    const Node& append = graph_.node(pair);
    if (append.op->name != "cache_append_pair" || graph_.producer_index(node.inputs[kVCache]) != pair ||
        append.inputs[kPairTable] != node.inputs[kTable])
      return -1;
    const auto is_one = [&](Value value) {
      const Dim& dim = graph_.type(value).dim(1);
      return dim.is_constant() && dim.constant() == 1;
    };
    if (!is_one(node.inputs[kQ]) || !is_one(append.inputs[kFirstAdded])) return -1;
    for (const Value cache : {node.inputs[kKCache], node.inputs[kVCache]}) {
      for (const int user : users_[static_cast<size_t>(cache.id)]) {
        if (user != i) return -1;
      }
    }
    return pair;
  }

  const Graph& graph_;
  std::vector<std::vector<int>> users_;  // by value
  std::map<int, int> pair_of_;           // by attention
  std::set<int> gone_;                   // pairs
};

}  // namespace

Graph append_in_attention(const Graph& graph,
                          const std::function<bool(const Graph&, const Node&)>& supported) {
  const Joiner joiner(graph);
  if (!joiner.found()) return graph;
  int made = -1;
  Graph joined = joiner.run(&made);
  return supported(joined, joined.node(made)) ? joined : graph;
}

}  // namespace floe
