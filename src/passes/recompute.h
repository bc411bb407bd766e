// Activation recompute: the backward part computes chosen forward values again instead of keeping them, so
// that less memory is held between the two (Chen et al., "Training deep nets with sublinear memory cost",
// 2016). Works on a differentiated graph, whose backward nodes autodiff has marked by their layer name
// ("... .backward"). The same ops on the same operands with the same op ids: values and masks are equal bit
// for bit.
#pragma once
#include <string>
#include <vector>

#include "ir/graph.h"

namespace floe {

struct RecomputeOptions {
  // Pointwise ops, norms, dropout and moves of elements, where all they read is kept for the backward part
  // anyway: never a product, never more memory.
  bool cheap = true;
  // Layers (names as in Node::where) of which nothing is kept but what flows in.
  std::vector<std::string> layers;
};

// Nodes computed again carry the attribute recomputed = true, so that sharing equal nodes (simplify) does not
// undo it; their layer name ends in ".recompute". Each is placed just before its first reader. Throws
// Error{user} naming a layer that no forward node has.
Graph recompute(const Graph& graph, const RecomputeOptions& options);

}  // namespace floe
