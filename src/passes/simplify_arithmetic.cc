// Rules on element-by-element ops. x and c stand for operands, c for one whose elements are all one number.
#include <algorithm>
#include <cmath>

#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/functions.h"
#include "passes/simplify_rules.h"

namespace floe {
namespace {

using Result = std::optional<Values>;

const Type& result_type(const RewriteContext& c) { return c.node.types[0]; }

// Operand i in the result's dims: the other operand may have broadcast it.
Result operand(const RewriteContext& c, size_t i) {
  return Values{broadcast(c.builder, c.inputs[i], result_type(c).dims)};
}

bool is_number(const RewriteContext& c, size_t i, double number) {
  const std::optional<double> splat = splat_of(c.builder.graph(), c.inputs[i]);
  return splat && *splat == number && std::signbit(*splat) == std::signbit(number);
}

// The number that leaves every x as it is: on floats only -0 does for a sum (-0 + 0 is +0), only +0 for a
// difference.
double neutral_addend(const RewriteContext& c) { return is_float(result_type(c).dtype) ? -0.0 : 0.0; }

Result mul_by_one(const RewriteContext& c) {
  if (is_number(c, 1, 1)) return operand(c, 0);
  if (is_number(c, 0, 1)) return operand(c, 1);
  return std::nullopt;
}

Result div_by_one(const RewriteContext& c) { return is_number(c, 1, 1) ? operand(c, 0) : std::nullopt; }

Result add_of_nothing(const RewriteContext& c) {
  if (is_number(c, 1, neutral_addend(c))) return operand(c, 0);
  if (is_number(c, 0, neutral_addend(c))) return operand(c, 1);
  return std::nullopt;
}

Result sub_of_nothing(const RewriteContext& c) { return is_number(c, 1, 0) ? operand(c, 0) : std::nullopt; }

Result neg_of_neg(const RewriteContext& c) {
  const Node& inner = c.builder.graph().producer(c.inputs[0]);
  return inner.op->name == "neg" ? Result({inner.inputs[0]}) : std::nullopt;
}

Result cast_to_same(const RewriteContext& c) {
  return c.builder.type(c.inputs[0]) == result_type(c) ? operand(c, 0) : std::nullopt;
}

// Does `to` hold every value of `from`?
bool holds(DType to, DType from) {
  switch (from) {
    case DType::bf16:
    case DType::f16:
      return to == DType::f32 || to == DType::f64;
    case DType::f32:
      return to == DType::f64;
    case DType::i8:
    case DType::u8:
      return to == DType::i32 || to == DType::i64 || to == DType::f32 || to == DType::f64;
    case DType::i32:
      return to == DType::i64 || to == DType::f64;
    case DType::boolean:
      return to != DType::boolean;
    default:
      return false;
  }
}

Result cast_there_and_back(const RewriteContext& c) {
  const Node& inner = c.builder.graph().producer(c.inputs[0]);
  if (inner.op->name != "cast") return std::nullopt;
  const Value x = inner.inputs[0];
  const DType from = c.builder.type(x).dtype;
  if (from != result_type(c).dtype || !holds(inner.types[0].dtype, from)) return std::nullopt;
  return Values{x};
}

Result select_on_constant(const RewriteContext& c) {
  const std::optional<double> condition = splat_of(c.builder.graph(), c.inputs[0]);
  return condition ? operand(c, *condition != 0 ? 1 : 2) : std::nullopt;
}

Result select_of_equals(const RewriteContext& c) {
  return c.inputs[1] == c.inputs[2] ? operand(c, 1) : std::nullopt;
}

// Operands broadcast by themselves: a broadcast node before an op with another operand of the full dims is
// not needed.
Result drop_broadcast(const RewriteContext& c) {
  const Graph& graph = c.builder.graph();
  const Dims& full = result_type(c).dims;
  Values inputs(c.inputs.begin(), c.inputs.end());
  bool changed = false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!graph.is(inputs[i], "broadcast")) continue;
    bool another = false;
    for (size_t k = 0; k < inputs.size(); ++k) another |= k != i && graph.type(inputs[k]).dims == full;
    if (!another) continue;
    inputs[i] = graph.producer(inputs[i]).inputs[0];
    changed = true;
  }
  if (!changed) return std::nullopt;
  return copy_node(c.builder, c.node, inputs);
}

// The gradient op gives the loss as well: forward's own pass over the logits is saved. The gradient's node
// comes later in the graph; it is built here and the later one is then found equal to it.
Result loss_from_its_gradient(const RewriteContext& c) {
  const Graph& old = c.old_graph;
  for (int i = c.node_index + 1; i < old.node_count(); ++i) {
    const Node& later = old.node(i);
    if (later.op->name != "linear_cross_entropy_grad" || later.inputs != c.node.inputs) continue;
    if (!(later.attrs == c.node.attrs)) continue;
    Values results = copy_node(c.builder, later, c.inputs);
    results.resize(c.node.types.size());
    return results;
  }
  return std::nullopt;
}

}  // namespace

std::vector<SimplifyRule> arithmetic_rules() {
  std::vector<SimplifyRule> rules = {
      {"mul_by_one", "mul", mul_by_one},                     // x * 1 = x
      {"div_by_one", "div", div_by_one},                     // x / 1 = x
      {"add_of_nothing", "add", add_of_nothing},             // x + -0.0 = x; integers: x + 0 = x
      {"sub_of_nothing", "sub", sub_of_nothing},             // x - 0 = x
      {"neg_of_neg", "neg", neg_of_neg},                     // -(-x) = x
      {"cast_to_same", "cast", cast_to_same},                // f32 -> f32
      {"cast_there_and_back", "cast", cast_there_and_back},  // bf16 -> f32 -> bf16
      {"select_on_constant", "select", select_on_constant},  // true ? x : y = x
      {"select_of_equals", "select", select_of_equals},      // p ? x : x = x
      {"loss_from_its_gradient", "linear_cross_entropy", loss_from_its_gradient},
  };
  for (const ScalarFunction& row : scalar_functions()) {
    if (row.arity > 1)
      rules.push_back({"drop_broadcast", row.name, drop_broadcast});  // x * [c, c, ..] = x * c
  }
  return rules;
}

}  // namespace floe
