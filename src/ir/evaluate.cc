#include "ir/evaluate.h"

#include "base/error.h"
#include "ir/builder.h"
#include "ir/op.h"
#include "ir/rewrite.h"

namespace floe {

RefTensor::RefTensor(DType dtype_in, Shape shape_in) : dtype(dtype_in), shape(std::move(shape_in)) {
  const auto n = static_cast<size_t>(count(shape));
  if (is_float(dtype)) {
    f.resize(n);
  } else {
    i.resize(n);
  }
}

RefTensor ref_of(const Tensor& tensor) {
  RefTensor ref(tensor.dtype(), tensor.shape());
  for (int64_t k = 0; k < tensor.size(); ++k) {
    if (is_float(ref.dtype)) {
      ref.f[static_cast<size_t>(k)] = tensor.at(k);
    } else {
      ref.i[static_cast<size_t>(k)] =
          tensor.dtype() == DType::i64 ? tensor.as<int64_t>()[k] : static_cast<int64_t>(tensor.at(k));
    }
  }
  return ref;
}

Tensor tensor_of(const RefTensor& ref) {
  Tensor tensor(ref.dtype, ref.shape);
  for (int64_t k = 0; k < tensor.size(); ++k) {
    if (ref.dtype == DType::i64) {
      tensor.as<int64_t>()[k] = ref.i[static_cast<size_t>(k)];
    } else {
      tensor.set(k, ref.number(k));
    }
  }
  return tensor;
}

void bind_dims(const Dims& dims, const Shape& shape, std::string_view what, Binding* binding) {
  if (dims.size() != shape.size()) {
    fail_user("'{}' must have shape {}, got {}", what, text_of(dims), text_of(shape));
  }
  for (size_t k = 0; k < dims.size(); ++k) {
    std::string_view name;
    if (dims[k].is_symbol(&name)) binding->emplace(std::string(name), shape[k]);
  }
  for (size_t k = 0; k < dims.size(); ++k) {
    std::vector<std::string> symbols;
    dims[k].collect_symbols(&symbols);
    bool known = true;
    for (const std::string& symbol : symbols) known = known && binding->find(symbol) != binding->end();
    if (known && dims[k].evaluate(*binding) != shape[k]) {
      const std::string value =
          dims[k].is_constant() ? "" : fmt::format(" ({} = {})", dims[k].text(), dims[k].evaluate(*binding));
      fail_user("'{}' must have shape {}, got {}{}", what, text_of(dims), text_of(shape), value);
    }
  }
}

std::vector<RefTensor> evaluate_node(const Graph& graph, const Node& node, std::span<const RefTensor> inputs,
                                     const Binding& binding) {
  if (node.op->evaluate) {
    const Attrs bound = node.attrs.bind(binding);
    EvalArgs args{node, inputs, bound, {}};
    for (const Type& type : node.types) {
      Shape shape;
      for (const Dim& dim : type.dims) shape.push_back(dim.evaluate(binding));
      args.shapes.push_back(std::move(shape));
    }
    return node.op->evaluate(args);
  }
  if (!node.op->meaning && node.body == nullptr) {
    fail_user("op '{}' has neither a value nor a meaning", node.op->name);
  }
  Graph simpler(graph.ops(), node.op->name);
  simpler.symbols() = graph.symbols();
  if (node.body != nullptr) simpler.symbols() = node.body->symbols();
  Builder builder(simpler);
  Values values;
  RefMap feeds;
  for (size_t k = 0; k < node.inputs.size(); ++k) {
    const std::string name = "x" + std::to_string(k);
    values.push_back(builder.input(name, graph.type(node.inputs[k])));
    feeds.emplace(name, inputs[k]);
  }
  const Values results =
      node.op->meaning ? node.op->meaning(builder, node, values) : inline_graph(builder, *node.body, values);
  for (size_t k = 0; k < results.size(); ++k) builder.output("y" + std::to_string(k), results[k]);
  Evaluation evaluation = evaluate(simpler, feeds, {}, binding);
  std::vector<RefTensor> out;
  for (size_t k = 0; k < results.size(); ++k)
    out.push_back(std::move(evaluation.outputs["y" + std::to_string(k)]));
  return out;
}

Evaluation evaluate(const Graph& graph, const RefMap& inputs, const RefMap& states, Binding binding,
                    const NodeEvaluator& special) {
  const auto given = [&](const RefMap& map, const std::string& name, const char* kind) -> const RefTensor& {
    const auto found = map.find(name);
    if (found == map.end()) fail_user("{} '{}' is missing", kind, name);
    return found->second;
  };
  const auto bind = [&](const NamedValue& entry, const RefTensor& tensor) {
    const Type& type = graph.type(entry.value);
    if (tensor.dtype != type.dtype) {
      fail_user("'{}' must be {}, got {}", entry.name, name_of(type.dtype), name_of(tensor.dtype));
    }
    bind_dims(type.dims, tensor.shape, entry.name, &binding);
  };
  for (const NamedValue& input : graph.inputs()) bind(input, given(inputs, input.name, "input"));
  for (const NamedValue& state : graph.states()) bind(state, given(states, state.name, "state"));
  graph.symbols().check(binding);
  std::vector<RefTensor> values(static_cast<size_t>(graph.value_count()));
  for (const Node& node : graph.nodes()) {
    std::vector<RefTensor> results;
    if (node.op->name == "input") {
      results = {given(inputs, node.attrs.text("name"), "input")};
    } else if (node.op->name == "state") {
      results = {given(states, node.attrs.text("name"), "state")};
    } else {
      std::vector<RefTensor> operands;
      for (const Value input : node.inputs) operands.push_back(values[static_cast<size_t>(input.id)]);
      std::optional<std::vector<RefTensor>> given_results;
      if (special) given_results = special(node, operands);
      results = given_results ? std::move(*given_results) : evaluate_node(graph, node, operands, binding);
    }
    FLOE_CHECK(results.size() == node.types.size(), "'{}' gave {} values for {}", node.op->name,
               results.size(), node.types.size());
    for (size_t k = 0; k < results.size(); ++k) {
      values[static_cast<size_t>(node.first.id) + k] = std::move(results[k]);
    }
  }
  Evaluation evaluation;
  for (const NamedValue& output : graph.outputs()) {
    evaluation.outputs[output.name] = values[static_cast<size_t>(output.value.id)];
  }
  for (const NamedValue& update : graph.updates()) {
    evaluation.updates[update.name] = values[static_cast<size_t>(update.value.id)];
  }
  return evaluation;
}

}  // namespace floe
