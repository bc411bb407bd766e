#include "passes/widen_halves.h"

#include <algorithm>
#include <set>

#include "ir/op.h"
#include "ir/rewrite.h"
#include "ops/elementwise/elementwise.h"

namespace floe {
namespace {

bool half(DType dtype) { return dtype == DType::bf16 || dtype == DType::f16; }

// These change no number.
bool moves(const Node& node) {
  static const std::set<std::string, std::less<>> names = {"input",  "state",     "constant", "reshape",
                                                           "slice",  "transpose", "concat",   "gather",
                                                           "select", "broadcast", "embedding"};
  return names.count(node.op->name) != 0;
}

}  // namespace

Graph widen_halves(const Graph& graph) {
  return rewrite(graph, [](const RewriteContext& c) -> std::optional<Values> {
    Builder& b = c.builder;
    const auto is_half = [&](Value v) { return half(b.type(v).dtype); };
    const bool touched = std::ranges::any_of(c.inputs, is_half) ||
                         std::ranges::any_of(c.node.types, [](const Type& t) { return half(t.dtype); });
    if (!touched || moves(c.node) || c.node.body != nullptr) return std::nullopt;
    Values wide;
    for (const Value input : c.inputs) wide.push_back(is_half(input) ? cast(b, input, DType::f32) : input);
    if (c.node.op->name == "cast") return Values{cast(b, wide[0], c.node.attrs.dtype("dtype"))};
    Values results = b.add_all(c.node.op->name, wide, c.node.attrs);
    for (size_t k = 0; k < results.size(); ++k) results[k] = cast(b, results[k], c.node.types[k].dtype);
    return results;
  });
}

}  // namespace floe
