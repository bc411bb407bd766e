// Graphs nobody would write by hand, for properties that hold for every graph: text round trips, passes that
// keep values.
#pragma once
#include <cstdint>

#include "ir/graph.h"

namespace floe {

struct RandomGraphOptions {
  uint64_t seed = 0;
  int nodes = 20;
  DType dtype = DType::f64;  // of the floating values: in f64 folding rounds nothing
};

// Element-wise ops with broadcast operands, casts, selects, reductions, reshapes and constants (NaN,
// infinities and both zeros among them) over the dims B in 1..8 and S in 0..16; some values are dead, some
// equal. Inputs "x0".. are f64[B, S], a few are outputs.
Graph random_graph(const RandomGraphOptions& options);

}  // namespace floe
