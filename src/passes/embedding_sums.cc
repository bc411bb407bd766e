#include "passes/embedding_sums.h"

#include <optional>

#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ops/embedding/embedding_sum.h"

namespace floe {
namespace {

// table[ids], as f32, times `scale`.
struct Rows {
  Value table, ids;
  double scale = 1;
};

std::optional<Rows> rows_of(const Graph& graph, Value value) {
  Rows rows;
  if (graph.is(value, "mul")) {
    const Values& factors = graph.producer(value).inputs;
    const int scalar = graph.is(factors[0], "constant") ? 0 : 1;
    const Type& type = graph.type(factors[static_cast<size_t>(scalar)]);
    if (!graph.is(factors[static_cast<size_t>(scalar)], "constant") || type.rank() != 0) return {};
    rows.scale = graph.producer(factors[static_cast<size_t>(scalar)]).attrs.tensor("value")->at(0);
    value = factors[static_cast<size_t>(1 - scalar)];
  }
  if (graph.type(value).dtype != DType::f32) return {};
  if (graph.is(value, "cast")) value = graph.producer(value).inputs[0];
  if (!graph.is(value, "embedding")) return {};
  rows.table = graph.producer(value).inputs[0];
  rows.ids = graph.producer(value).inputs[1];
  return rows;
}

// The sum as one node, where there is a kernel for it.
std::optional<Values> joined(Builder& b, Value x, Value y, DType out,
                             const std::function<bool(const Graph&, const Node&)>& supported) {
  const std::optional<Rows> first = rows_of(b.graph(), x), second = rows_of(b.graph(), y);
  if (!first || !second || (first->scale != 1 && second->scale != 1)) return {};
  const bool swap = second->scale != 1;
  const Rows &scaled = swap ? *second : *first, &added = swap ? *first : *second;
  if (b.type(scaled.ids) != b.type(added.ids)) return {};
  const Value made = embedding_sum(b, {.table = scaled.table,
                                       .ids = scaled.ids,
                                       .added_table = added.table,
                                       .added_ids = added.ids,
                                       .scale = scaled.scale,
                                       .out = out});
  if (!supported(b.graph(), b.graph().producer(made))) return {};
  return Values{made};
}

}  // namespace

Graph join_embeddings(const Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported) {
  const std::vector<std::vector<int>> users = users_of(graph);
  return remove_dead(rewrite(graph, [&](const RewriteContext& at) -> std::optional<Values> {
    const Graph& made = at.builder.graph();
    if (at.node.op->name == "add" && at.node.types[0].dtype == DType::f32)
      return joined(at.builder, at.inputs[0], at.inputs[1], DType::f32, supported);
    if (at.node.op->name != "cast" || users[static_cast<size_t>(at.node.inputs[0].id)].size() != 1) return {};
    const Value sum = at.inputs[0];
    if (!made.is(sum, "embedding_sum")) return {};
    const Node node = made.producer(sum);
    const Value narrow = embedding_sum(at.builder, {.table = node.inputs[0],
                                                    .ids = node.inputs[1],
                                                    .added_table = node.inputs[2],
                                                    .added_ids = node.inputs[3],
                                                    .scale = node.attrs.number("scale"),
                                                    .out = at.node.types[0].dtype});
    if (!supported(made, made.producer(narrow))) return {};
    return Values{narrow};
  }));
}

}  // namespace floe
