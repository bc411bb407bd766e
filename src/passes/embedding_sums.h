// Rows of a table, times a number, plus rows of another become one embedding_sum (ops/embedding) where
// `supported` takes it: tokens and positions at the head of a step. Casts between them and a single cast
// after the sum are taken along.
#pragma once
#include <functional>

#include "ir/graph.h"

namespace floe {

Graph join_embeddings(const Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported);

}  // namespace floe
