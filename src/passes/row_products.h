// norm -> product -> activation -> residual becomes one row_linear (ops/row_linear), for inference: a row's
// bits then do not depend on the rows beside it, and a layer of a decoder is a handful of kernels.
//
// Every product of rows by a transposed matrix that `supported` takes is one afterwards, with what surrounds
// it: an activation, a residual and casts that alone read it, and the norm before it. Between them nothing is
// rounded any more. A norm that others read too, as the residual of a post-norm layer, is merged into its
// first product, which then gives the normed rows beside its own result.
#pragma once
#include <functional>

#include "ir/graph.h"

namespace floe {

// Is there a kernel for this row_linear?
using SupportsNode = std::function<bool(const Graph& graph, const Node& node)>;

Graph merge_row_products(const Graph& graph, const SupportsNode& supported);

}  // namespace floe
