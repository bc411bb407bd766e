// cache_append_pair -> paged_attention becomes one append_attention where `supported` takes it: for a step of
// one position a row, whose new key and value alone that attention reads back.
//
// For graphs whose tables give every row places of its own to write to, and in which no row sees what another
// writes in the same run (ops/paged_attention/append_attention.h): a decoder's step is one, and only its
// maker can know.
#pragma once
#include <functional>

#include "ir/graph.h"

namespace floe {

Graph append_in_attention(const Graph& graph,
                          const std::function<bool(const Graph&, const Node&)>& supported);

}  // namespace floe
