// A whole graph as one Python file over NumPy: prelude, then
//
//   def NAME(inputs, states): -> (outputs, states afterwards), all of them dicts of arrays by name
//
// in the order of the graph, one line a node, with layers as comments and types beside the values. Sizes are
// read from the shapes of what is given; arrays of another type or shape raise ValueError. Sums and products
// are NumPy's, in its order; random numbers have our bits. For reading, and as a second opinion on a graph.
#pragma once
#include <string>

#include "ir/graph.h"

namespace floe {

// Throws Error{user} naming an op or a type that has no printed form, or a size that no shape gives.
std::string numpy_graph(const Graph& graph);

}  // namespace floe
