// The text form of a graph. It holds everything, so parse(print(g)) prints the same text:
//
//   graph "step" {
//     dim B in 1..64
//     %0 = input {dims = <B, 4>, dtype = f32, name = "x"} : f32[B, 4]
//     %1, %2 = layer(%0) {eps = 1e-05} : f32[B, 4], f32[B] @ "encoder.0"
//     update "cache" = %2
//     return "y" = %1
//   }
#pragma once
#include <string>
#include <string_view>

#include "ir/graph.h"

namespace floe {

std::string print(const Graph& graph);
std::string print_node(const Graph& graph, const Node& node);  // one line, without the body

// Throws Error{user} with the line's number and text. Types are inferred again and must equal the written
// ones.
Graph parse(const OpTable& ops, std::string_view text);

// A picture for `dot`: ops as boxes, values as arrows with their types, layers as colours.
std::string print_dot(const Graph& graph);

}  // namespace floe
