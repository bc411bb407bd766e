#include "passes/bias_gradients.h"

#include <map>
#include <set>

#include "ir/op.h"
#include "ir/rewrite.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear_grad/linear_grad.h"

namespace floe {
namespace {

// `value` before the reshapes that keep its rows' length.
Value unshaped(const Graph& graph, Value value) {
  while (graph.is(value, "reshape")) {
    const Value from = graph.producer(value).inputs[0];
    if (graph.type(from).rank() == 0 || graph.type(from).dim(-1) != graph.type(value).dim(-1)) break;
    value = from;
  }
  return value;
}

// Over all dims but the last?
bool sums_rows(const Graph& graph, const Node& node) {
  if (node.op->name != "reduce_sum" || node.attrs.flag("keep", false)) return false;
  const int rank = graph.type(node.inputs[0]).rank();
  std::set<int64_t> axes;
  for (const int64_t axis : node.attrs.integers("axes")) axes.insert(axis < 0 ? axis + rank : axis);
  return rank > 1 && axes.size() == static_cast<size_t>(rank - 1) && axes.count(rank - 1) == 0;
}

bool is_weight_gradient(const Graph& graph, const Node& node) {
  return node.op->name == "matmul" && node.inputs.size() == 2 && graph.type(node.inputs[0]).rank() == 2 &&
         node.attrs.flag("transpose_a", false) && !node.attrs.flag("transpose_b", false) &&
         node.attrs.text("activation", "").empty() && node.types[0].dtype == DType::f32;
}

struct Join {
  size_t dy = 0;          // which operand of the product
  std::vector<int> sums;  // nodes
};

// By the product's node.
std::map<int, Join> joins_of(const Graph& graph) {
  std::map<Value, std::vector<int>> sums_of;  // by dy
  for (int i = 0; i < graph.node_count(); ++i) {
    const Node& node = graph.node(i);
    if (sums_rows(graph, node)) sums_of[unshaped(graph, node.inputs[0])].push_back(i);
  }
  std::map<int, Join> joins;
  for (int i = 0; i < graph.node_count(); ++i) {
    if (!is_weight_gradient(graph, graph.node(i))) continue;
    for (const size_t operand : {0, 1}) {
      const auto sums = sums_of.find(unshaped(graph, graph.node(i).inputs[operand]));
      if (sums == sums_of.end() || sums->second.front() < i) continue;
      joins[i] = {operand, sums->second};
      sums_of.erase(sums);
      break;
    }
  }
  return joins;
}

}  // namespace

Graph join_bias_gradients(const Graph& graph,
                          const std::function<bool(const Graph&, const Node&)>& has_kernel) {
  const std::map<int, Join> joins = joins_of(graph);
  if (joins.empty()) return graph;
  std::map<Value, Value> summed;  // by reduce_sum's old result: the f32 sums in the new graph
  const Graph joined = rewrite(graph, [&](const RewriteContext& c) -> std::optional<Values> {
    Builder& b = c.builder;
    if (const auto join = joins.find(c.node_index); join != joins.end()) {
      const size_t dy = join->second.dy;
      const LinearGrads grads = linear_grad(b, c.inputs[1 - dy], c.inputs[dy], /*input_first=*/dy == 1);
      if (!has_kernel(b.graph(), b.graph().producer(grads.dweight))) return std::nullopt;
      for (const int sum : join->second.sums) summed[graph.node(sum).result()] = grads.dbias;
      return Values{grads.dweight};
    }
    if (const auto sum = summed.find(c.node.result()); sum != summed.end()) {
      return Values{cast(b, sum->second, c.node.types[0].dtype)};
    }
    if (c.node.op->name == "cast" && c.node.types[0].dtype == DType::f32) {
      if (const auto sum = summed.find(c.node.inputs[0]); sum != summed.end()) return Values{sum->second};
    }
    return std::nullopt;
  });
  return remove_dead(joined);
}

}  // namespace floe
