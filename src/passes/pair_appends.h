// Two cache_appends by one table and one list of positions, of one type, become a cache_append_pair where
// `supported` takes it: keys and values of a layer are then written by one kernel.
#pragma once
#include <functional>

#include "ir/graph.h"

namespace floe {

Graph pair_appends(const Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported);

}  // namespace floe
