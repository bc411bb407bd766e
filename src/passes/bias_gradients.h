// A linear layer's bias gradient joins the product that gives its weight's: both read the same dy, and a
// device that can sum dy's rows while it multiplies reads it once. matmul(dy, x) or matmul(x, dy), with the
// first operand transposed and an f32 result, and reduce_sum of that dy over all dims but the last, however
// the two have reshaped it, become one linear_grad. The bias gradient then is an f32 sum: what reads it as
// f32 gets it so, where reduce_sum of a bf16 dy had rounded it.
#pragma once
#include <functional>

#include "ir/graph.h"

namespace floe {

// Only nodes that `has_kernel` takes are made; it is given a graph and the node in it. A sum that stands
// before its product stays as it is (autodiff writes the product first).
Graph join_bias_gradients(const Graph& graph,
                          const std::function<bool(const Graph&, const Node&)>& has_kernel);

}  // namespace floe
