#include "passes/pair_appends.h"

#include <algorithm>

#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ops/cache_append/cache_append.h"

namespace floe {
namespace {

enum Operand { kCache, kAdded, kTable, kPositions };

class Pairer {
 public:
  explicit Pairer(const Graph& graph)
      : graph_(graph),
        done_(static_cast<size_t>(graph.node_count()), false),
        partner_(static_cast<size_t>(graph.node_count()), -1),
        map_(static_cast<size_t>(graph.value_count())),
        result_(graph.ops(), graph.name()),
        b_(result_) {
    result_.symbols() = graph.symbols();
  }

  // The first pair is given in `pair`, -1 where there is none.
  Graph run(int* pair) {
    *pair = -1;
    for (int i = 0; i < graph_.node_count(); ++i) {
      if (graph_.node(i).op->name == "cache_append" && partner_[at(i)] < 0) find_partner(i);
    }
    for (int i = 0; i < graph_.node_count(); ++i) {
      emit(i);
      if (*pair < 0 && partner_[at(i)] >= 0) *pair = result_.producer_index(get(graph_.node(i).result()));
    }
    for (const NamedValue& output : graph_.outputs()) result_.add_output(output.name, get(output.value));
    for (const NamedValue& update : graph_.updates()) result_.add_update(update.name, get(update.value));
    return result_;
  }

 private:
  static size_t at(int i) { return static_cast<size_t>(i); }

  void find_partner(int i) {
    const Node& first = graph_.node(i);
    for (int j = i + 1; j < graph_.node_count(); ++j) {
      const Node& other = graph_.node(j);
      if (other.op->name != "cache_append" || partner_[at(j)] >= 0) continue;
      const auto same_type = [&](Operand k) {
        return graph_.type(first.inputs[k]) == graph_.type(other.inputs[k]);
      };
      const bool alike = other.inputs[kTable] == first.inputs[kTable] &&
                         other.inputs[kPositions] == first.inputs[kPositions] && same_type(kCache) &&
                         same_type(kAdded) && other.inputs[kCache] != first.inputs[kCache];
      if (!alike || !std::ranges::all_of(other.inputs, [&](Value input) { return ready(input, i); }))
        continue;
      partner_[at(i)] = j;
      partner_[at(j)] = i;
      return;
    }
  }

  // Can `value` be made before node i? What lies after it may be moved forward, but for appends: then no
  // circle can arise.
  bool ready(Value value, int i) const {
    const int from = graph_.producer_index(value);
    if (from < i) return true;
    const Node& node = graph_.node(from);
    return from != i && node.op->name != "cache_append" &&
           std::ranges::all_of(node.inputs, [&](Value input) { return ready(input, i); });
  }

  Value get(Value old) {
    emit(graph_.producer_index(old));
    return map_[at(old.id)];
  }

  void emit(int i) {
    if (done_[at(i)]) return;
    done_[at(i)] = true;
    const Node& node = graph_.node(i);
    Values inputs;
    for (const Value input : node.inputs) inputs.push_back(get(input));
    const int partner = partner_[at(i)];
    if (partner < 0) {
      b_.set_where(node.where);
      const Values results = copy_node(b_, node, inputs);
      for (size_t k = 0; k < results.size(); ++k) map_[at(node.first.id) + k] = results[k];
      return;
    }
    done_[at(partner)] = true;
    const Node& other = graph_.node(partner);
    const Value cache = get(other.inputs[kCache]), added = get(other.inputs[kAdded]);
    b_.set_where(node.where);
    const CacheAppendPair made = cache_append_pair(b_, {.first_cache = inputs[kCache],
                                                        .first_added = inputs[kAdded],
                                                        .second_cache = cache,
                                                        .second_added = added,
                                                        .table = inputs[kTable],
                                                        .positions = inputs[kPositions]});
    map_[at(node.result().id)] = made.first;
    map_[at(other.result().id)] = made.second;
  }

  const Graph& graph_;
  std::vector<bool> done_;    // by node
  std::vector<int> partner_;  // by node: the append that is written with it, or -1
  Values map_;                // by value: in the new graph
  Graph result_;
  Builder b_;
};

}  // namespace

Graph pair_appends(const Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported) {
  int pair = -1;
  Graph paired = Pairer(graph).run(&pair);
  return pair >= 0 && supported(paired, paired.node(pair)) ? paired : graph;
}

}  // namespace floe
