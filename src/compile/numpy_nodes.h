// One node of a printable graph as a NumPy expression.
#pragma once
#include <span>
#include <string>

#include "ir/graph.h"

namespace floe {

// "(B, S, 8)"
std::string numpy_dims(const Dims& dims);

// Helpers of numpy_node, once a file, after numpy_prelude().
std::string numpy_node_prelude();

// What gives the node's result, or the tuple of its results. `operands` are names or literals. Pointwise
// functions of several instructions are called by their op's name.
std::string numpy_node(const Graph& graph, const Node& node, std::span<const std::string> operands);

// Does numpy_node call a function of the op's name, printed from this tape by numpy_function?
bool is_numpy_function(const Node& node);

}  // namespace floe
