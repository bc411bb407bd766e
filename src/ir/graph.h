// A Graph owns nodes in the order they were built, which is a topological order; it only grows. A pass reads
// one graph and builds another (ir/rewrite.h). A value is a number; a node defines one or more consecutive
// values.
//
// Besides its named inputs and outputs a graph reads *state* (parameters, optimizer moments, caches: what
// outlives a run) through `state` nodes, and says in `updates` which value each state has after the run.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/type.h"
#include "tensor/attrs.h"

namespace floe {

struct OpDef;
class OpTable;
class Graph;

struct Value {
  int32_t id = -1;
  explicit operator bool() const { return id >= 0; }
  bool operator==(const Value&) const = default;
  auto operator<=>(const Value&) const = default;
};
using Values = std::vector<Value>;

struct Node {
  const OpDef* op = nullptr;
  Values inputs;
  Attrs attrs;
  std::vector<Type> types;            // of its results
  std::shared_ptr<const Graph> body;  // of a fused group
  std::string where;                  // the layer it came from: "encoder.0.self_attention"
  Value first;                        // results are first, first + 1, ...

  Value result(int i = 0) const { return {first.id + i}; }
  int result_count() const { return static_cast<int>(types.size()); }
};

struct NamedValue {
  std::string name;
  Value value;
};

class Graph {
 public:
  Graph(const OpTable& ops, std::string name) : ops_(&ops), name_(std::move(name)) {}

  const OpTable& ops() const { return *ops_; }
  const std::string& name() const { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }
  SymbolTable& symbols() { return symbols_; }
  const SymbolTable& symbols() const { return symbols_; }

  const std::vector<Node>& nodes() const { return nodes_; }
  const Node& node(int index) const { return nodes_[static_cast<size_t>(index)]; }
  int node_count() const { return static_cast<int>(nodes_.size()); }
  int value_count() const { return static_cast<int>(producers_.size()); }
  int producer_index(Value value) const;  // of which node it is a result
  const Node& producer(Value value) const { return node(producer_index(value)); }
  const Type& type(Value value) const;
  bool is(Value value, std::string_view op) const;  // is it a result of that op?

  const std::vector<NamedValue>& inputs() const { return inputs_; }  // in the order they were added
  const std::vector<NamedValue>& states() const { return states_; }
  const std::vector<NamedValue>& outputs() const { return outputs_; }
  const std::vector<NamedValue>& updates() const { return updates_; }

  // Used by Builder and parse; types must already be right. Returns the node.
  const Node& append(Node node);
  void add_output(std::string name, Value value) { outputs_.push_back({std::move(name), value}); }
  void add_update(std::string state, Value value) { updates_.push_back({std::move(state), value}); }

 private:
  const OpTable* ops_;
  std::string name_;
  SymbolTable symbols_;
  std::vector<Node> nodes_;
  std::vector<int32_t> producers_;  // by value
  std::vector<NamedValue> inputs_, states_, outputs_, updates_;
};

// For every value: the nodes that read it, each once, in order.
std::vector<std::vector<int>> users_of(const Graph& graph);

}  // namespace floe
