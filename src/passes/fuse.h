// Pointwise fusion: afterwards every pointwise node lies in a group (ops/group), one pass over memory each.
//
// An activation that alone reads a plain matrix product becomes the product's attribute. Then, in topological
// order, a node draws the groups of its operands into its own where that is legal: no path leaves the group
// and comes back, iteration shapes are equal (or the operand is a cheap smaller value read nowhere else,
// which is then computed again for each element), and the limits below hold. Constants of one element become
// part of the code. Cheap values that only other groups read are computed again there instead of being
// written. What anything outside reads is a result of its group. Random ops keep their ids.
#pragma once
#include "ir/graph.h"

namespace floe {

constexpr int kMaxGroupInputs = 24;
constexpr int kMaxGroupResults = 8;
constexpr int kMaxGroupInstructions = 120;

Graph fuse(const Graph& graph);

}  // namespace floe
