// A graph in the ops that the printers print. What has a meaning is replaced by it, again and again; what is
// left are the pointwise ops and those that have a value but no meaning. One op that has a meaning is printed
// as it is: the plain matrix product, whose meaning would write down every single product.
#pragma once
#include <string>
#include <string_view>

#include "ir/graph.h"

namespace floe {

// Simplified before and after, halves computed in f32. Groups become their bodies; layer names stay. Throws
// Error{user} naming an op that has no printed form and the layer it came from.
Graph printable(const Graph& graph);

// Is it a node of a printable graph?
bool is_printable(const Node& node);

// A name as both languages take it: letters, digits and _, no digit first.
std::string identifier_of(std::string_view name);

}  // namespace floe
