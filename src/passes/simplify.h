// Makes a graph smaller without changing a value it computes: constant folding through the reference
// evaluator, sharing of equal nodes, dead code, and a table of local rules.
//
// On floats only identities that hold for every value are taken: NaN stays NaN, infinities and the sign of
// zero stay (x + 0 is no identity for x = -0, x * 0 and x - x are none for NaN). One exception: where the sum
// of padded slices becomes one concat, a -0 in a slice stays -0 where the sum would have made it +0.
#pragma once
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "ir/rewrite.h"

namespace floe {

Graph simplify(const Graph& graph);

// The same for one graph walk: rules and sharing only see operands that are simplified already.
struct SimplifyRule {
  std::string_view name;  // "mul_by_one"
  std::string_view op;    // of the nodes it looks at
  // No value when the rule does not apply; operands are c.inputs in the new graph.
  std::optional<Values> (*apply)(const RewriteContext& c);
};

// All rules: arithmetic first, then those that move elements.
const std::vector<SimplifyRule>& simplify_rules();

// Are all elements of `value` one number (a constant, or a broadcast, reshape of one)? Looks at small
// constants only. Zero elements give no number.
std::optional<double> splat_of(const Graph& graph, Value value);

// Nodes with equal op, attributes, operands, types and body become one. Layer names may differ: the first one
// stays. Random ops carry their op id as an attribute, so two draws never become one.
Graph merge_equal(const Graph& graph);

}  // namespace floe
