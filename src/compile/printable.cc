#include "compile/printable.h"

#include <cctype>
#include <set>

#include "base/error.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "passes/simplify.h"
#include "passes/widen_halves.h"

namespace floe {

bool is_printable(const Node& node) {
  static const std::set<std::string, std::less<>> primitives = {
      "input", "state",     "constant",       "reshape",    "slice",       "transpose",   "concat",
      "iota",  "embedding", "embedding_grad", "reduce_sum", "reduce_max",  "sum_squares", "adamw",
      "rope",  "gather",    "scatter",        "top_k",      "cache_append"};
  const OpDef& op = *node.op;
  if (op.name == "matmul") return node.inputs.size() == 2 && node.attrs.text("activation", "").empty();
  return primitives.count(op.name) != 0 || (op.pointwise && !op.meaning);
}

namespace {

Graph expand(Graph graph) {
  for (;;) {
    bool again = false;
    Graph next = rewrite(graph, [&](const RewriteContext& c) -> std::optional<Values> {
      if (is_printable(c.node)) return std::nullopt;
      again = true;
      if (c.node.body != nullptr) return inline_graph(c.builder, *c.node.body, c.inputs);
      if (c.node.op->meaning) return c.node.op->meaning(c.builder, c.node, c.inputs);
      fail_user("[print] op '{}'{} has no printed form", c.node.op->name,
                c.node.where.empty() ? "" : " in " + c.node.where);
    });
    if (!again) return graph;
    graph = std::move(next);
  }
}

}  // namespace

Graph printable(const Graph& graph) { return simplify(expand(simplify(widen_halves(graph)))); }

std::string identifier_of(std::string_view name) {
  std::string text;
  for (const char c : name) text += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text[0])) != 0) text.insert(0, "_");
  return text;
}

}  // namespace floe
