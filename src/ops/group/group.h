// group: a node whose body is a graph of pointwise ops, run in one pass over memory. All results have one
// shape, the iteration shape; inputs and inner values broadcast to it. Made by the fuse pass.
#pragma once
#include <memory>

#include "ir/builder.h"

namespace floe {

Values group(Builder& b, std::shared_ptr<const Graph> body, Values inputs);

// A body that holds one node of `graph`, with the node's inputs as its own.
std::shared_ptr<const Graph> body_of(const Graph& graph, const Node& node);

}  // namespace floe
