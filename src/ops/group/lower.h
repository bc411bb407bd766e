// From a group's body to the tape that interpreters and printers read.
//
// The tape's `input` instruction with imm = i reads input i, broadcast to the iteration space from the right
// (NumPy). Only the ordinals of `uniform` are aligned from the left: element coordinate 0 of a vector. Such
// an input has an instruction of its own, which nothing but operand b of `uniform` reads; operand a (the
// seed) is an input of rank 0 or a constant. Equal instructions are shared.
#pragma once
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "tensor/scalar.h"

namespace floe {

Tape lower_group(const Graph& body);

// One pointwise node on its own, as if wrapped in a group.
Tape lower_node(const Graph& graph, const Node& node);

// Can a rank-0 constant of this value stand in a tape? (i64 beyond 2^53 cannot: imm is a double.)
bool fits_tape(const Tensor& constant);

// (result, input) pairs of a group that may share memory: the input has the results' dims and an element as
// large as the result's, and no result is an input passed through.
std::vector<std::pair<int, int>> group_in_place(const Graph& graph, const Node& group);

}  // namespace floe
