#include "passes/weight_copies.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "ops/elementwise/elementwise.h"

namespace floe {
namespace {

constexpr size_t kAdamInputs = 4, kAdamScalars = 4;  // ops/adamw/adamw.h

// The state that a value is; empty if it is none.
std::string state_of(const Graph& graph, Value value) {
  const Node& node = graph.producer(value);
  return node.op->name == "state" ? node.attrs.text("name") : "";
}

bool lowers(const Node& node) { return node.op->name == "cast" && node.types[0].dtype == DType::bf16; }

class Copies {
 public:
  explicit Copies(const std::vector<std::string>& names) : names_(names.begin(), names.end()) {}

  std::optional<Values> operator()(const RewriteContext& c) {
    if (lowers(c.node)) {
      const std::string name = state_of(c.old_graph, c.node.inputs[0]);
      if (names_.count(name) == 0) return std::nullopt;
      return Values{state(c.builder, name, c.node.types[0].dims)};
    }
    if (c.node.op->name == "adamw") return step(c);
    return std::nullopt;
  }

  void update(Graph& graph) const {
    for (const NamedValue& copy : written_) graph.add_update(copy.name, copy.value);
  }

 private:
  Value state(Builder& b, const std::string& name, const Dims& dims) {
    Value& value = states_[name];
    if (!value) value = b.state("bf16." + name, {DType::bf16, dims});
    return value;
  }

  Values step(const RewriteContext& c) {
    FLOE_CHECK(!c.node.attrs.has("copied"), "an optimizer that writes copies already");
    std::vector<int64_t> copied;
    std::vector<std::string> names;
    for (size_t k = 0; k * kAdamInputs + kAdamScalars < c.node.inputs.size(); ++k) {
      const Value param = c.node.inputs[k * kAdamInputs];
      const std::string name = state_of(c.old_graph, param);
      if (names_.count(name) == 0) continue;
      copied.push_back(static_cast<int64_t>(k));
      names.push_back("bf16." + name);
      state(c.builder, name, c.old_graph.type(param).dims);
    }
    Attrs attrs = c.node.attrs;
    if (!copied.empty()) attrs.set("copied", std::move(copied));
    Values results = c.builder.add_all("adamw", Values(c.inputs.begin(), c.inputs.end()), std::move(attrs));
    const size_t before = c.node.types.size();
    for (size_t k = 0; k < names.size(); ++k) written_.push_back({names[k], results[before + k]});
    results.resize(before);
    return results;
  }

  std::set<std::string, std::less<>> names_;
  std::map<std::string, Value> states_;  // by the weight's name
  std::vector<NamedValue> written_;
};

}  // namespace

std::vector<std::string> copied_weights(const Graph& graph) {
  std::set<std::string, std::less<>> read;
  for (const Node& node : graph.nodes()) {
    if (lowers(node)) read.insert(state_of(graph, node.inputs[0]));
  }
  std::vector<std::string> names;
  for (const NamedValue& state : graph.states()) {
    const Node& node = graph.producer(state.value);
    if (read.count(state.name) != 0 && node.attrs.flag("trainable", false) &&
        node.types[0].dtype == DType::f32) {
      names.push_back(state.name);
    }
  }
  return names;
}

Graph with_weight_copies(const Graph& step, const std::vector<std::string>& names) {
  Copies copies(names);
  Graph graph = rewrite(step, [&](const RewriteContext& c) { return copies(c); });
  copies.update(graph);
  return graph;
}

Graph copy_step(const Graph& loss_graph, const std::vector<std::string>& names) {
  Graph graph(loss_graph.ops(), "copy_weights");
  Builder b(graph);
  for (const NamedValue& state : loss_graph.states()) {
    if (std::ranges::find(names, state.name) == names.end()) continue;
    const Value weight = copy_node(b, loss_graph.producer(state.value), {})[0];
    b.state("bf16." + state.name, {DType::bf16, b.type(weight).dims});
    b.update("bf16." + state.name, cast(b, weight, DType::bf16));
  }
  return graph;
}

}  // namespace floe
