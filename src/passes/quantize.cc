#include "passes/quantize.h"

#include "base/error.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/matmul/matmul.h"
#include "ops/matmul_int8/matmul_int8.h"
#include "ops/quantize/quantize.h"
#include "tensor/quantize.h"

namespace floe {
namespace {

bool is_product(const Node& node) {
  return node.op->name == "matmul" && node.attrs.flag("transpose_b", false) &&
         !node.attrs.flag("transpose_a", false);
}

class Quantizer {
 public:
  explicit Quantizer(const QuantizePlan& plan) : plan_(plan) {}

  std::optional<Values> operator()(const RewriteContext& c) {
    Builder& b = c.builder;
    if (c.node.op->name == "state") return state(b, c.node);
    bool reads_codes = false;
    for (const Value input : c.inputs) reads_codes = reads_codes || weights_.count(input.id) != 0;
    if (!reads_codes) return std::nullopt;
    Values inputs(c.inputs.begin(), c.inputs.end());
    if (c.node.op->name == "embedding" && weights_.count(inputs[1].id) == 0) {
      const Weight& table = weights_.at(inputs[0].id);
      const Value codes = embedding(b, table.codes, inputs[1]);
      return Values{dequantize(b, codes, embedding(b, table.scale, inputs[1]))};
    }
    if (is_product(c.node) && weights_.count(inputs[0].id) == 0 && weights_.count(inputs[1].id) != 0)
      inputs[0] = through_codes(b, inputs[0], weights_.at(inputs[1].id));
    for (Value& input : inputs) {
      const auto weight = weights_.find(input.id);
      if (weight != weights_.end()) input = dequantize(b, weight->second.codes, weight->second.scale);
    }
    return copy_node(b, c.node, inputs);
  }

 private:
  struct Weight {
    Value codes, scale;
    Value input_scale;  // where it is fixed
  };

  std::optional<Values> state(Builder& b, const Node& node) {
    const std::string& name = node.attrs.text("name");
    const auto planned = plan_.find(name);
    if (planned == plan_.end()) return std::nullopt;
    const Type& type = node.types[0];
    FLOE_CHECK(type.dtype == DType::f32 && type.rank() == 2, "'{}' is {}, no f32 matrix", name,
               text_of(type));
    Attrs attrs = node.attrs;
    attrs.set("dtype", DType::i8);
    attrs.set("trainable", false);
    const Attrs still{{"trainable", false}};
    Weight weight{b.add_all("state", {}, attrs)[0],
                  b.state(scale_name(name), {DType::f32, {type.dim(0), Dim(1)}}, still),
                  {}};
    if (planned->second == InputScale::fixed)
      weight.input_scale = b.state(input_scale_name(name), {DType::f32, {}}, still);
    weights_[weight.codes.id] = weight;
    return Values{weight.codes};
  }

  // x as its codes give it back.
  Value through_codes(Builder& b, Value x, const Weight& weight) {
    if (weight.input_scale) return dequantize(b, quantize(b, x, weight.input_scale), weight.input_scale);
    const auto known = rows_.find(x.id);
    if (known != rows_.end()) return known->second;
    const QuantizedRows rows = quantize_rows(b, x);
    return rows_[x.id] = dequantize(b, rows.codes, rows.scales);
  }

  const QuantizePlan& plan_;
  std::map<int, Weight> weights_;  // by their codes
  std::map<int, Value> rows_;      // by x: through its codes, with its rows' scales
};

}  // namespace

Graph quantize(const Graph& graph, const QuantizePlan& plan) {
  for (const NamedValue& update : graph.updates())
    FLOE_CHECK(plan.find(update.name) == plan.end(), "'{}' is updated, so it cannot be INT8", update.name);
  Quantizer quantizer(plan);
  return rewrite(graph, [&](const RewriteContext& c) { return quantizer(c); }, {.types_may_change = true});
}

std::vector<ProductInput> product_inputs(const Graph& graph,
                                         const std::set<std::string, std::less<>>& names) {
  std::vector<ProductInput> found;
  for (int i = 0; i < graph.node_count(); ++i) {
    const Node& node = graph.node(i);
    if (!is_product(node) || !graph.is(node.inputs[1], "state")) continue;
    const std::string& weight = graph.producer(node.inputs[1]).attrs.text("name");
    if (names.count(weight) != 0) found.push_back({weight, i, node.inputs[0]});
  }
  return found;
}

Graph use_int8_products(const Graph& graph) {
  const Graph lowered = rewrite(graph, [](const RewriteContext& c) -> std::optional<Values> {
    Builder& b = c.builder;
    const auto pair_of = [&](Value value) -> const Node* {
      const Node& node = c.old_graph.producer(value);
      return node.op->name == "dequantize" ? &node : nullptr;
    };
    if (c.node.op->name != "matmul" || !c.node.attrs.flag("transpose_b", false)) return std::nullopt;
    if (pair_of(c.node.inputs[0]) == nullptr || pair_of(c.node.inputs[1]) == nullptr) return std::nullopt;
    // Copied already, as every operand is.
    const Node a = b.graph().producer(c.inputs[0]), w = b.graph().producer(c.inputs[1]);
    if (b.type(w.inputs[0]).rank() != 2) return std::nullopt;
    return Values{matmul_int8(b, {.a = a.inputs[0],
                                  .a_scale = a.inputs[1],
                                  .w = w.inputs[0],
                                  .w_scale = w.inputs[1],
                                  .bias = c.inputs.size() > 2 ? c.inputs[2] : Value{},
                                  .activation = c.node.attrs.text("activation", "")})};
  });
  return rewrite(remove_dead(lowered), [](const RewriteContext& c) -> std::optional<Values> {
    if (c.node.op->name != "dequantize") return std::nullopt;
    const Value codes = cast(c.builder, c.inputs[0], DType::f32);
    return Values{mul(c.builder, codes, c.inputs[1])};
  });
}

}  // namespace floe
