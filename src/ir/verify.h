// Every invariant of a graph, checked after every pass. A failure is a bug of the pass: its message shows the
// node and its neighbours.
#pragma once
#include <string_view>

#include "ir/graph.h"

namespace floe {

// Values are defined before use; types are what infer gives; every symbolic dim, also one that occurs only in
// a result's type, is declared; names of inputs, states and outputs are unique; updates name a state and keep
// its type; bodies are graphs that hold, too. Throws Error{bug} naming `pass`.
void verify(const Graph& graph, std::string_view pass);

}  // namespace floe
