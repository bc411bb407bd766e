#include "ir/graph.h"

#include "base/error.h"
#include "ir/op.h"

namespace floe {

int Graph::producer_index(Value value) const {
  FLOE_CHECK(value.id >= 0 && value.id < value_count(), "value %{} is not in graph '{}'", value.id, name_);
  return producers_[static_cast<size_t>(value.id)];
}

const Type& Graph::type(Value value) const {
  const Node& node = producer(value);
  return node.types[static_cast<size_t>(value.id - node.first.id)];
}

bool Graph::is(Value value, std::string_view op) const { return producer(value).op->name == op; }

const Node& Graph::append(Node node) {
  node.first = {value_count()};
  for (size_t i = 0; i < node.types.size(); ++i) producers_.push_back(node_count());
  if (node.op->name == "input") inputs_.push_back({node.attrs.text("name"), node.first});
  if (node.op->name == "state") states_.push_back({node.attrs.text("name"), node.first});
  nodes_.push_back(std::move(node));
  return nodes_.back();
}

std::vector<std::vector<int>> users_of(const Graph& graph) {
  std::vector<std::vector<int>> users(static_cast<size_t>(graph.value_count()));
  for (int i = 0; i < graph.node_count(); ++i) {
    for (const Value input : graph.node(i).inputs) {
      auto& list = users[static_cast<size_t>(input.id)];
      if (list.empty() || list.back() != i) list.push_back(i);
    }
  }
  return users;
}

}  // namespace floe
