// The reference evaluator: every op's value in double, from its `evaluate` or through its meaning. Slow and
// plain on purpose: it is the truth that kernels are tested against, and it folds constants.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace floe {

// Floats live in `f`, not rounded to their dtype; integers and booleans in `i`, wrapped to it.
struct RefTensor {
  DType dtype = DType::f32;
  Shape shape;
  std::vector<double> f;
  std::vector<int64_t> i;

  RefTensor() = default;
  RefTensor(DType dtype, Shape shape);  // zeros
  int64_t size() const {
    return is_float(dtype) ? static_cast<int64_t>(f.size()) : static_cast<int64_t>(i.size());
  }
  double number(int64_t at) const {
    return is_float(dtype) ? f[static_cast<size_t>(at)] : static_cast<double>(i[static_cast<size_t>(at)]);
  }
};

RefTensor ref_of(const Tensor& tensor);
Tensor tensor_of(const RefTensor& ref);  // rounded to its dtype

using RefMap = std::map<std::string, RefTensor, std::less<>>;

struct Evaluation {
  RefMap outputs;
  RefMap updates;
};

// Gives a node's results in the evaluator's stead, or nothing: collectives, whose values depend on other
// ranks.
using NodeEvaluator =
    std::function<std::optional<std::vector<RefTensor>>(const Node& node, std::span<const RefTensor> inputs)>;

// `binding` may leave out dims that the inputs' shapes give. Throws Error{user} when an input or a state is
// missing or its shape does not fit.
Evaluation evaluate(const Graph& graph, const RefMap& inputs, const RefMap& states, Binding binding = {},
                    const NodeEvaluator& special = {});

// One node on given values; through the meaning when it is no primitive.
std::vector<RefTensor> evaluate_node(const Graph& graph, const Node& node, std::span<const RefTensor> inputs,
                                     const Binding& binding);

// Solves the variables of `dims` from a shape, adding to `binding`; throws Error{user} naming `what` when
// they clash.
void bind_dims(const Dims& dims, const Shape& shape, std::string_view what, Binding* binding);

}  // namespace floe
