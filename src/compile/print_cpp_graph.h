// A whole graph as one C++20 source without headers, for given sizes: a function for each step, plain loops,
// and one that calls them in order over one arena planned beforehand. Groups have the interpreter's bits.
// Build with -ffp-contract=off and link the C library's mathematics (-lm).
#pragma once
#include <string>

#include "ir/graph.h"

namespace floe {

// extern "C" unsigned long long NAME_scratch(): bytes of the arena
// extern "C" int NAME(const void* const* inputs, void* const* states, void* const* outputs, void* scratch)
//
// in the order of graph.inputs(), states() and outputs(), row-major; states are updated in place and scratch
// is aligned to 64 bytes. Returns 0, or the number of the step, from 1, that met an integer division by zero
// or an id outside its table; states are then neither old nor new.
//
// Throws Error{user} naming an op or a type that has no printed form, or a size that `binding` lacks.
std::string cpp_graph(const Graph& graph, const Binding& binding);

}  // namespace floe
