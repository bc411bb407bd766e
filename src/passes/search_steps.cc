#include "passes/search_steps.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ops/search/joined.h"

namespace floe {
namespace {

// Nodes of the old graph that become one, and the values of the old graph that its results take the place of.
struct Joined {
  std::vector<int> nodes;
  std::function<Values(Builder&, const std::function<Value(Value)>& get)> build;
  Values results;
};

class Finder {
 public:
  explicit Finder(const Graph& graph) : graph_(graph), users_(users_of(graph)) {}

  std::optional<Joined> begin() const {
    const int turn = only("search_turn");
    if (turn < 0) return {};
    const Node& t = graph_.node(turn);
    const int table = rows_by(t, /*positions=*/4, /*entries=*/6);
    const int history = rows_by(t, /*positions=*/7, /*entries=*/2);
    if (table < 0 || history < 0) return {};
    const Node &by_slot = graph_.node(table), &by_token = graph_.node(history);
    if (!is_state(by_slot.inputs[0]) || !is_state(by_token.inputs[0])) return {};
    Joined made{{turn, table, history}, {}, {}};
    for (int k = 0; k < 10; ++k) made.results.push_back(t.result(k));
    for (const Node* node : {&by_slot, &by_token}) {
      for (int k = 0; k < 2; ++k) made.results.push_back(node->result(k));
    }
    made.build = [&t, &by_slot, &by_token](Builder& b, const auto& get) -> Values {
      Values in;
      for (const Value input : t.inputs) in.push_back(get(input));
      in.push_back(get(by_slot.inputs[0]));
      in.push_back(get(by_token.inputs[0]));
      return b.add_all("search_begin", std::move(in), {{"beam", t.attrs.integer("beam")}});
    };
    return made;
  }

  std::optional<Joined> choice() const {
    const int keep = only("search_keep");
    if (keep < 0) return {};
    const Node& k = graph_.node(keep);
    const int advance = graph_.producer_index(k.inputs[3]);
    const Node& a = graph_.node(advance);
    if (a.op->name != "beam_advance" || !reads(k, 3, a, 3)) return {};
    const int candidates = graph_.producer_index(a.inputs[0]);
    const Node& c = graph_.node(candidates);
    if (c.op->name != "beam_candidates" || !reads(a, 0, c, 3)) return {};
    const int penalties = graph_.producer_index(c.inputs[0]);
    const Node& p = graph_.node(penalties);
    if (p.op->name != "search_penalties" || p.inputs[6] != a.inputs[3]) return {};
    const int64_t beam = p.attrs.integer("beam");
    if (c.attrs.integer("beam") != beam || a.attrs.integer("beam") != beam ||
        a.attrs.integer("beam_in") != beam)
      return {};
    // What lies between is read by nobody else; who continues, not even by the graph's ends.
    if (!only_reader(p, candidates) || !only_reader(c, advance) || !only_reader(a, keep)) return {};
    for (int i = 0; i < 3; ++i) {
      if (is_end(a.result(i))) return {};
    }
    Joined made{{penalties, candidates, advance, keep}, {}, {p.result()}};
    for (int i = 0; i < 4; ++i) made.results.push_back(c.result(i));
    made.results.push_back(a.result(3));
    made.results.push_back(a.result(4));
    for (int i = 0; i < 3; ++i) made.results.push_back(k.result(i));
    made.build = [&p, &c, &a, &k](Builder& b, const auto& get) -> Values {
      Values in;
      for (const Value input : p.inputs) in.push_back(get(input));
      in.push_back(get(c.inputs[1]));
      in.push_back(get(a.inputs[4]));
      for (size_t i = 0; i < 3; ++i) in.push_back(get(k.inputs[i]));
      return b.add_all("search_choice", std::move(in),
                       {{"beam", p.attrs.integer("beam")}, {"candidates", c.attrs.integer("candidates")}});
    };
    return made;
  }

 private:
  // The one node of an op; -1 where there is none, or more.
  int only(std::string_view op) const {
    int found = -1;
    for (int i = 0; i < graph_.node_count(); ++i) {
      if (graph_.node(i).op->name != op) continue;
      if (found >= 0) return -1;
      found = i;
    }
    return found;
  }
  int rows_by(const Node& turn, int positions, int entries) const {
    for (int i = 0; i < graph_.node_count(); ++i) {
      const Node& node = graph_.node(i);
      if (node.op->name == "beam_rows" && node.inputs[1] == turn.result(1) &&
          node.inputs[2] == turn.result(positions) && node.inputs[3] == turn.result(entries))
        return i;
    }
    return -1;
  }
  bool is_state(Value value) const { return graph_.is(value, "state"); }
  // Are the node's inputs from `first` on the first `count` results of the other, in order?
  static bool reads(const Node& node, int first, const Node& of, int count) {
    for (int i = 0; i < count; ++i) {
      if (node.inputs[static_cast<size_t>(first + i)] != of.result(i)) return false;
    }
    return true;
  }
  bool only_reader(const Node& node, int reader) const {
    for (size_t i = 0; i < node.types.size(); ++i) {
      for (const int user : users_[static_cast<size_t>(node.result(static_cast<int>(i)).id)]) {
        if (user != reader) return false;
      }
    }
    return true;
  }
  bool is_end(Value value) const {
    const auto names = [&](const NamedValue& end) { return end.value == value; };
    return std::ranges::any_of(graph_.outputs(), names) || std::ranges::any_of(graph_.updates(), names);
  }

  const Graph& graph_;
  std::vector<std::vector<int>> users_;  // by value
};

// The graph with one node in the place of those of `joined`. Each node comes when the first that reads it
// does, or in its old place.
class Joiner {
 public:
  Joiner(const Graph& graph, const Joined& joined)
      : graph_(graph),
        joined_(joined),
        done_(static_cast<size_t>(graph.node_count()), false),
        map_(static_cast<size_t>(graph.value_count())),
        result_(graph.ops(), graph.name()),
        b_(result_) {
    result_.symbols() = graph.symbols();
  }

  Graph run(int* made) {
    for (int i = 0; i < graph_.node_count(); ++i) {  // in the order of the door
      if (graph_.node(i).op->name == "input") emit(i);
    }
    for (int i = 0; i < graph_.node_count(); ++i) emit(i);
    for (const NamedValue& output : graph_.outputs()) result_.add_output(output.name, get(output.value));
    for (const NamedValue& update : graph_.updates()) result_.add_update(update.name, get(update.value));
    *made = result_.producer_index(get(joined_.results.back()));
    return result_;
  }

 private:
  Value get(Value old) {
    emit(graph_.producer_index(old));
    return map_[static_cast<size_t>(old.id)];
  }

  void emit(int i) {
    if (done_[static_cast<size_t>(i)]) return;
    const Node& node = graph_.node(i);
    if (std::ranges::find(joined_.nodes, i) != joined_.nodes.end()) {
      for (const int each : joined_.nodes) done_[static_cast<size_t>(each)] = true;
      const auto from = [this](Value value) { return get(value); };
      const std::string where = graph_.node(joined_.nodes.front()).where;
      for (const int each : joined_.nodes) {  // before the place is named: get() names its own
        for (const Value input : graph_.node(each).inputs) {
          const int producer = graph_.producer_index(input);
          if (std::ranges::find(joined_.nodes, producer) == joined_.nodes.end()) emit(producer);
        }
      }
      b_.set_where(where);
      const Values results = joined_.build(b_, from);
      for (size_t k = 0; k < results.size(); ++k)
        map_[static_cast<size_t>(joined_.results[k].id)] = results[k];
      return;
    }
    done_[static_cast<size_t>(i)] = true;
    Values inputs;
    for (const Value input : node.inputs) inputs.push_back(get(input));
    b_.set_where(node.where);
    const Values results = copy_node(b_, node, inputs);
    for (size_t k = 0; k < results.size(); ++k) map_[static_cast<size_t>(node.first.id) + k] = results[k];
  }

  const Graph& graph_;
  const Joined& joined_;
  std::vector<bool> done_;  // by node
  Values map_;              // by value: in the new graph
  Graph result_;
  Builder b_;
};

Graph join(const Graph& graph, const std::optional<Joined>& joined,
           const std::function<bool(const Graph&, const Node&)>& supported) {
  if (!joined) return graph;
  int made = -1;
  Graph result = Joiner(graph, *joined).run(&made);
  return supported(result, result.node(made)) ? result : graph;
}

}  // namespace

Graph join_search_steps(const Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported) {
  const Graph begun = join(graph, Finder(graph).begin(), supported);
  return join(begun, Finder(begun).choice(), supported);
}

}  // namespace floe
