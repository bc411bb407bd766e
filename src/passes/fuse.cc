#include "passes/fuse.h"

#include <algorithm>
#include <map>
#include <queue>
#include <set>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ops/elementwise/functions.h"
#include "ops/group/group.h"
#include "ops/group/lower.h"

namespace floe {
namespace {

bool is_absorbed_constant(const Node& node) {
  return node.op->name == "constant" && fits_tape(*node.attrs.tensor("value"));
}

int instructions(const Node& node) {
  const ScalarFunction* row = find_scalar_function(node.op->name);
  if (row != nullptr) return static_cast<int>(row->value.code.size()) - row->arity;
  if (node.op->name == "dropout") return 6;
  return node.op->name == "broadcast" ? 0 : 1;
}

// One instruction that costs no more than reading its result would.
bool is_cheap(const Node& node) {
  static const std::set<std::string, std::less<>> names = {
      "broadcast", "cast", "select", "add", "sub", "mul", "neg",         "abs",        "max",
      "min",       "relu", "lt",     "le",  "eq",  "ne",  "logical_and", "logical_or", "logical_not"};
  return names.count(node.op->name) != 0;
}

constexpr int kMaxRepeated = 4;  // instructions on a smaller shape that a larger one may make again and again

// The operands of a random op that must come from outside its group: seed and ordinals.
bool is_coordinate(const Node& node, size_t input) {
  return node.op->name == "uniform" || (node.op->name == "dropout" && input > 0);
}

Graph absorb_activations(const Graph& graph) {
  // The functions that every device's matmul and matmul_int8 apply to their results.
  static const std::set<std::string, std::less<>> names = {"relu", "gelu",    "gelu_tanh",
                                                           "silu", "sigmoid", "tanh"};
  std::vector<int> reads(static_cast<size_t>(graph.value_count()), 0);
  for (const Node& node : graph.nodes()) {
    for (const Value input : node.inputs) ++reads[static_cast<size_t>(input.id)];
  }
  for (const NamedValue& output : graph.outputs()) ++reads[static_cast<size_t>(output.value.id)];
  for (const NamedValue& update : graph.updates()) ++reads[static_cast<size_t>(update.value.id)];
  const Graph absorbed = rewrite(graph, [&](const RewriteContext& c) -> std::optional<Values> {
    if (names.count(c.node.op->name) == 0) return std::nullopt;
    const Value old = c.node.inputs[0];
    const Node& product = c.builder.graph().producer(c.inputs[0]);
    if (!c.old_graph.is(old, "matmul") && !c.old_graph.is(old, "matmul_int8")) return std::nullopt;
    if (reads[static_cast<size_t>(old.id)] != 1) return std::nullopt;
    if (!product.attrs.text("activation", "").empty()) return std::nullopt;
    Attrs attrs = product.attrs;
    attrs.set("activation", c.node.op->name);
    return c.builder.add_all(product.op->name, product.inputs, std::move(attrs));
  });
  return remove_dead(absorbed);
}

class Fuser {
 public:
  explicit Fuser(const Graph& graph) : graph_(graph), users_(users_of(graph)) {}

  Graph run() {
    leaves_.assign(static_cast<size_t>(graph_.value_count()), false);
    for (const NamedValue& output : graph_.outputs()) leaves_[static_cast<size_t>(output.value.id)] = true;
    for (const NamedValue& update : graph_.updates()) leaves_[static_cast<size_t>(update.value.id)] = true;
    for (int i = 0; i < graph_.node_count(); ++i) {
      units_.push_back({{i}});
      unit_of_.push_back(i);
    }
    for (int i = 0; i < graph_.node_count(); ++i) {
      if (graph_.node(i).op->pointwise) draw_operands(i);
    }
    settle();
    repeat_cheap_values();
    return emit();
  }

 private:
  struct Unit {
    std::vector<int> nodes;  // sorted; more than one only in a group
  };

  const Node& node(int i) const { return graph_.node(i); }
  int unit_of_value(Value v) const { return unit_of_[static_cast<size_t>(graph_.producer_index(v))]; }
  Unit& unit(int u) { return units_[static_cast<size_t>(u)]; }
  const Unit& unit(int u) const { return units_[static_cast<size_t>(u)]; }
  bool is_group(int u) const { return !unit(u).nodes.empty() && node(unit(u).nodes.back()).op->pointwise; }
  static bool contains(const std::vector<int>& nodes, int i) {
    return std::binary_search(nodes.begin(), nodes.end(), i);
  }

  // Values that `nodes` read from outside, without constants that become code; each once, in order.
  Values inputs_of(const std::vector<int>& nodes) const {
    Values inputs;
    for (const int i : nodes) {
      for (const Value v : node(i).inputs) {
        const int producer = graph_.producer_index(v);
        if (contains(nodes, producer) || is_absorbed_constant(node(producer))) continue;
        if (std::find(inputs.begin(), inputs.end(), v) == inputs.end()) inputs.push_back(v);
      }
    }
    return inputs;
  }

  // Results of `nodes` that something outside reads, while groups are being formed.
  Values results_of(const std::vector<int>& nodes) const {
    Values results;
    for (const int i : nodes) {
      const Value v = node(i).result();
      const std::vector<int>& users = users_[static_cast<size_t>(v.id)];
      const bool read =
          std::any_of(users.begin(), users.end(), [&](int user) { return !contains(nodes, user); });
      if (read || leaves_[static_cast<size_t>(v.id)]) results.push_back(v);
    }
    return results;
  }

  void draw_operands(int i) {
    for (size_t k = 0; k < node(i).inputs.size(); ++k) {
      if (is_coordinate(node(i), k)) continue;
      const int from = unit_of_value(node(i).inputs[k]);
      const int to = unit_of_[static_cast<size_t>(i)];
      if (from == to || !is_group(from) || !may_merge(from, to, i)) continue;
      std::vector<int> all = joined(from, to);
      for (const int member : unit(from).nodes) unit_of_[static_cast<size_t>(member)] = to;
      unit(from).nodes.clear();
      unit(to).nodes = std::move(all);
    }
  }

  std::vector<int> joined(int a, int b) const {
    std::vector<int> all;
    std::merge(unit(a).nodes.begin(), unit(a).nodes.end(), unit(b).nodes.begin(), unit(b).nodes.end(),
               std::back_inserter(all));
    return all;
  }

  // `i` is the newest node of `to`: the group's iteration dims are its dims.
  bool may_merge(int from, int to, int i) const {
    const std::vector<int> all = joined(from, to);
    const Dims& dims = node(i).types[0].dims;
    int count = 0;
    for (const int member : all) {
      const Node& each = node(member);
      count += instructions(each);
      for (size_t k = 0; k < each.inputs.size(); ++k) {
        if (is_coordinate(each, k) && contains(all, graph_.producer_index(each.inputs[k]))) return false;
      }
      if (each.op->name == "uniform" || each.op->name == "dropout") {
        if (each.types[0].dims != dims) return false;
      }
    }
    if (count > kMaxGroupInstructions || inputs_of(all).size() > kMaxGroupInputs) return false;
    const Values results = results_of(all);
    if (results.size() > kMaxGroupResults) return false;
    for (const Value v : results) {
      if (graph_.type(v).dims != dims) return false;
    }
    if (unit_dims(from) != dims) {
      int again = 0;  // instructions made again for each element
      for (const int member : unit(from).nodes) {
        if (!is_cheap(node(member))) return false;
        again += instructions(node(member));
      }
      if (again > kMaxRepeated) return false;
    }
    return !path_outside(from, to);
  }
  const Dims& unit_dims(int u) const { return node(unit(u).nodes.back()).types[0].dims; }

  // Is there a way from group `from` to group `to` through others?
  bool path_outside(int from, int to) const {
    const int last = unit(to).nodes.back();
    std::set<int> seen = {from, to};
    std::vector<int> open = {from};
    while (!open.empty()) {
      const int u = open.back();
      open.pop_back();
      for (const int member : unit(u).nodes) {
        for (int k = 0; k < node(member).result_count(); ++k) {
          for (const int user : users_[static_cast<size_t>(node(member).result(k).id)]) {
            const int next = unit_of_[static_cast<size_t>(user)];
            if (next == to && u != from) return true;
            if (unit(next).nodes.front() > last || !seen.insert(next).second) continue;
            open.push_back(next);
          }
        }
      }
    }
    return false;
  }

  // Which groups compute a node: its home, and those that make it again.
  void settle() {
    homes_.resize(units_.size());
    for (size_t u = 0; u < units_.size(); ++u) {
      for (const int i : units_[u].nodes) homes_[static_cast<size_t>(i)].push_back(static_cast<int>(u));
    }
  }
  // The units that read node i's result and do not compute it.
  std::set<int> readers_of(int i) const {
    std::set<int> readers;
    for (const int user : users_[static_cast<size_t>(node(i).result().id)]) {
      for (const int u : homes_[static_cast<size_t>(user)]) {
        if (!contains(unit(u).nodes, i)) readers.insert(u);
      }
    }
    return readers;
  }
  bool is_result(int u, int i) const {
    return unit_of_[static_cast<size_t>(i)] == u &&
           (leaves_[static_cast<size_t>(node(i).result().id)] || !readers_of(i).empty());
  }

  // A cheap result that only other groups read, made from values that are in memory anyway, is made again
  // there.
  void repeat_cheap_values() {
    for (int i = graph_.node_count() - 1; i >= 0; --i) {
      if (node(i).op->pointwise && is_cheap(node(i)) && !leaves_[static_cast<size_t>(node(i).result().id)])
        repeat(i);
    }
  }

  void repeat(int i) {
    const int home = unit_of_[static_cast<size_t>(i)];
    const std::set<int> readers = readers_of(i);
    if (readers.empty()) return;
    for (const int user : users_[static_cast<size_t>(node(i).result().id)]) {
      for (size_t k = 0; k < node(user).inputs.size(); ++k) {
        if (node(user).inputs[k] == node(i).result() && is_coordinate(node(user), k)) return;
      }
    }
    for (const Value input : node(i).inputs) {
      const int producer = graph_.producer_index(input);
      if (contains(unit(home).nodes, producer) && !is_result(home, producer)) return;
    }
    std::map<int, std::vector<int>> with;
    for (const int u : readers) {
      if (!is_group(u)) return;
      if (node(i).op->name != "broadcast" && node(i).types[0].dims != unit_dims(u)) return;
      std::vector<int> nodes = unit(u).nodes;
      nodes.insert(std::lower_bound(nodes.begin(), nodes.end(), i), i);
      int count = 0;
      for (const int member : nodes) count += instructions(node(member));
      if (count > kMaxGroupInstructions || inputs_of(nodes).size() > inputs_of(unit(u).nodes).size()) return;
      with[u] = std::move(nodes);
    }
    std::vector<int>& homes = homes_[static_cast<size_t>(i)];
    for (auto& [u, nodes] : with) {
      unit(u).nodes = std::move(nodes);
      homes.push_back(u);
    }
    // Where nothing of its own group reads it, it leaves.
    const std::vector<int>& users = users_[static_cast<size_t>(node(i).result().id)];
    if (std::any_of(users.begin(), users.end(), [&](int user) { return contains(unit(home).nodes, user); }))
      return;
    std::vector<int>& nodes = unit(home).nodes;
    nodes.erase(std::find(nodes.begin(), nodes.end(), i));
    homes.erase(std::find(homes.begin(), homes.end(), home));
  }

  Graph emit() {
    Graph result(graph_.ops(), graph_.name());
    result.symbols() = graph_.symbols();
    Builder b(result);
    Values map(static_cast<size_t>(graph_.value_count()));
    for (const int u : order()) {
      const std::vector<int>& nodes = unit(u).nodes;
      const Node& last = node(nodes.back());
      b.set_where(last.where);
      if (last.op->pointwise) {
        emit_group(b, u, &map);
        continue;
      }
      Values inputs;
      for (const Value v : last.inputs) inputs.push_back(map[static_cast<size_t>(v.id)]);
      const Values results = copy_node(b, last, inputs);
      for (size_t k = 0; k < results.size(); ++k) map[static_cast<size_t>(last.first.id) + k] = results[k];
    }
    for (const NamedValue& output : graph_.outputs()) {
      result.add_output(output.name, map[static_cast<size_t>(output.value.id)]);
    }
    for (const NamedValue& update : graph_.updates()) {
      result.add_update(update.name, map[static_cast<size_t>(update.value.id)]);
    }
    return remove_dead(result);
  }

  void emit_group(Builder& b, int u, Values* map) {
    const std::vector<int>& nodes = unit(u).nodes;
    const Values outside = inputs_of(nodes);
    Values results;
    for (const int i : nodes) {
      if (is_result(u, i)) results.push_back(node(i).result());
    }
    FLOE_CHECK(!results.empty(), "a group in graph '{}' that nobody reads", graph_.name());
    auto body = std::make_shared<Graph>(graph_.ops(), "group");
    body->symbols() = graph_.symbols();
    Builder inner(*body);
    std::map<int32_t, Value> inside;
    Values inputs;
    for (const Value v : outside) {
      inside[v.id] = inner.input("x" + std::to_string(inputs.size()), graph_.type(v));
      inputs.push_back((*map)[static_cast<size_t>(v.id)]);
    }
    for (const int i : nodes) {
      inner.set_where(node(i).where);
      Values operands;
      for (const Value v : node(i).inputs) {
        Value& value = inside[v.id];
        if (!value) value = copy_node(inner, graph_.producer(v), {})[0];
        operands.push_back(value);
      }
      inside[node(i).result().id] = copy_node(inner, node(i), operands)[0];
    }
    for (const Value v : results) inner.output("y" + std::to_string(body->outputs().size()), inside.at(v.id));
    const Values made = group(b, body, std::move(inputs));
    for (size_t k = 0; k < results.size(); ++k) (*map)[static_cast<size_t>(results[k].id)] = made[k];
  }

  // A topological order of the units, as near to the given one as their last nodes allow.
  std::vector<int> order() const {
    const auto count = units_.size();
    std::vector<std::set<int>> after(count);
    std::vector<int> waiting(count, 0);
    for (size_t u = 0; u < count; ++u) {
      std::set<int> before;
      for (const int i : units_[u].nodes) {
        for (const Value v : node(i).inputs) {
          if (!contains(units_[u].nodes, graph_.producer_index(v))) before.insert(unit_of_value(v));
        }
      }
      for (const int each : before) after[static_cast<size_t>(each)].insert(static_cast<int>(u));
      waiting[u] = static_cast<int>(before.size());
    }
    using Entry = std::pair<int, int>;  // last node, unit
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
    const auto push = [&](int u) {
      if (!unit(u).nodes.empty()) ready.emplace(unit(u).nodes.back(), u);
    };
    size_t left = 0;
    for (size_t u = 0; u < count; ++u) {
      left += units_[u].nodes.empty() ? 0 : 1;
      if (waiting[u] == 0) push(static_cast<int>(u));
    }
    std::vector<int> order;
    while (!ready.empty()) {
      const int u = ready.top().second;
      ready.pop();
      order.push_back(u);
      for (const int next : after[static_cast<size_t>(u)]) {
        if (--waiting[static_cast<size_t>(next)] == 0) push(next);
      }
    }
    FLOE_CHECK(order.size() == left, "fusion of graph '{}' made a circle", graph_.name());
    return order;
  }

  const Graph& graph_;
  std::vector<std::vector<int>> users_;  // by value
  std::vector<bool> leaves_;             // by value: an output or a new state
  std::vector<Unit> units_;              // emptied when drawn into another
  std::vector<int> unit_of_;             // by node
  std::vector<std::vector<int>> homes_;  // by node: the units that compute it
};

}  // namespace

Graph fuse(const Graph& graph) {
  const Graph absorbed = absorb_activations(remove_dead(graph));
  return Fuser(absorbed).run();
}

}  // namespace floe
