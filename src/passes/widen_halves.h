// For devices and printers that compute in f32: bf16 and f16 are only stored and moved, and every op on them
// becomes one on f32 between casts, so that each result is rounded once, where the graph says so.
#pragma once
#include "ir/graph.h"

namespace floe {

Graph widen_halves(const Graph& graph);

}  // namespace floe
