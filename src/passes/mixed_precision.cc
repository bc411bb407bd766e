#include "passes/mixed_precision.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "ops/elementwise/elementwise.h"

namespace floe {
namespace {

using Names = std::set<std::string, std::less<>>;

// Their floating operands become bf16; the number is how many: the rest (scales of norms) stay.
const std::map<std::string, size_t, std::less<>> kLow = {
    {"matmul", 3},       {"attention", 3},      {"attention_weights", 2},    {"embedding", 1},
    {"layer_norm", 1},   {"rms_norm", 1},       {"linear_cross_entropy", 4}, {"rope", 1},
    {"cache_append", 2}, {"paged_attention", 3}};
// What only moves elements, or is fused into the product before it, takes the type that it is given.
const Names kTransparent = {"reshape", "transpose", "slice", "concat",  "relu",
                            "gelu",    "gelu_tanh", "silu",  "sigmoid", "tanh"};

class Lowering {
 public:
  std::optional<Values> operator()(const RewriteContext& c) {
    Builder& b = c.builder;
    Values inputs(c.inputs.begin(), c.inputs.end());
    const auto low = kLow.find(c.node.op->name);
    if (low != kLow.end()) {
      for (size_t k = 0; k < std::min(low->second, inputs.size()); ++k) {
        if (b.type(inputs[k]).dtype == DType::f32) inputs[k] = lowered(b, inputs[k]);
      }
      return raised(b, copy_node(b, c.node, inputs), c.node);
    }
    if (kTransparent.count(c.node.op->name) != 0 && all_lowered(b, inputs)) {
      for (Value& input : inputs) input = lowered(b, input);
      return raised(b, copy_node(b, c.node, inputs), c.node);
    }
    bool changed = false;
    for (Value& input : inputs) {
      const auto rounded = rounded_.find(input.id);
      if (rounded == rounded_.end()) continue;
      input = rounded->second;
      changed = true;
    }
    if (!changed) return std::nullopt;
    return copy_node(b, c.node, inputs);
  }

 private:
  // The bf16 value that `value` is a cast of, or a cast of it.
  Value lowered(Builder& b, Value value) {
    const auto known = low_.find(value.id);
    if (known != low_.end()) return known->second;
    const Value low = cast(b, value, DType::bf16);
    low_[value.id] = low;
    // Weights keep their own bits: who reads them as f32 wants the master.
    if (b.graph().producer(value).op->name != "state") {
      const Value up = cast(b, low, DType::f32);
      rounded_[value.id] = up;
      low_[up.id] = low;
    }
    return low;
  }

  bool all_lowered(const Builder& b, const Values& inputs) const {
    bool any = false;
    for (const Value input : inputs) {
      if (b.type(input).dtype != DType::f32) return false;
      if (low_.find(input.id) == low_.end()) return false;
      any = true;
    }
    return any;
  }

  Values raised(Builder& b, const Values& results, const Node& node) {
    Values out;
    for (size_t k = 0; k < results.size(); ++k) {
      const bool fell = b.type(results[k]).dtype == DType::bf16 && node.types[k].dtype == DType::f32;
      if (!fell) {
        out.push_back(results[k]);
        continue;
      }
      out.push_back(cast(b, results[k], DType::f32));
      low_[out.back().id] = results[k];
    }
    return out;
  }

  std::map<int, Value> low_;      // by f32 value: the same in bf16
  std::map<int, Value> rounded_;  // by f32 value: what stands for it once it has been rounded
};

}  // namespace

std::string_view name_of(Precision value) { return value == Precision::f32 ? "f32" : "bf16"; }

void parse(std::string_view text, Precision* value) {
  for (const Precision each : {Precision::f32, Precision::bf16}) {
    if (text == name_of(each)) {
      *value = each;
      return;
    }
  }
  fail_user("'{}' is none of f32, bf16", text);
}

Graph mixed_precision(const Graph& graph) {
  Lowering lowering;
  return rewrite(graph, [&](const RewriteContext& c) { return lowering(c); }, {.types_may_change = true});
}

Graph narrow_states(const Graph& graph, const std::function<bool(std::string_view)>& narrow) {
  Names names;
  for (const NamedValue& state : graph.states()) {
    if (graph.type(state.value).dtype == DType::f32 && narrow(state.name)) names.insert(state.name);
  }
  Graph wide(graph.ops(), graph.name());
  wide.symbols() = graph.symbols();
  Builder b(wide);
  Values map(static_cast<size_t>(graph.value_count()));
  for (const Node& node : graph.nodes()) {
    Values inputs;
    for (const Value input : node.inputs) inputs.push_back(map[static_cast<size_t>(input.id)]);
    b.set_where(node.where);
    Values results;
    if (node.op->name == "state" && names.count(node.attrs.text("name")) != 0) {
      Attrs attrs = node.attrs;
      attrs.set("dtype", DType::bf16);
      results = {cast(b, b.add_all("state", {}, attrs)[0], DType::f32)};
    } else {
      results = copy_node(b, node, inputs);
    }
    for (size_t k = 0; k < results.size(); ++k) map[static_cast<size_t>(node.first.id) + k] = results[k];
  }
  for (const NamedValue& output : graph.outputs())
    b.output(output.name, map[static_cast<size_t>(output.value.id)]);
  for (const NamedValue& update : graph.updates()) {
    const Value value = map[static_cast<size_t>(update.value.id)];
    b.update(update.name, names.count(update.name) != 0 ? cast(b, value, DType::bf16) : value);
  }
  return wide;
}

Graph widen_products(const Graph& graph) {
  const std::vector<std::vector<int>> users = users_of(graph);
  std::vector<bool> leaves(static_cast<size_t>(graph.value_count()), false);
  for (const NamedValue& output : graph.outputs()) leaves[static_cast<size_t>(output.value.id)] = true;
  for (const NamedValue& update : graph.updates()) leaves[static_cast<size_t>(update.value.id)] = true;
  const auto only_widened = [&](Value value) {
    const auto at = static_cast<size_t>(value.id);
    return !leaves[at] && !users[at].empty() && std::ranges::all_of(users[at], [&](int user) {
      return graph.node(user).op->name == "cast" && graph.node(user).types[0].dtype == DType::f32;
    });
  };
  const Graph wide = rewrite(
      graph,
      [&](const RewriteContext& c) -> std::optional<Values> {
        const Node& node = c.node;
        if (node.op->name == "matmul" && node.types[0].dtype == DType::bf16 && node.inputs.size() == 2 &&
            node.attrs.text("activation", "").empty() && only_widened(node.result())) {
          Attrs attrs = node.attrs;
          attrs.set("out", DType::f32);
          return c.builder.add_all("matmul", Values(c.inputs.begin(), c.inputs.end()), attrs);
        }
        if (node.op->name == "cast" && c.builder.type(c.inputs[0]) == node.types[0])
          return Values{c.inputs[0]};
        return std::nullopt;
      },
      {.types_may_change = true});
  return remove_dead(wide);
}

}  // namespace floe
