// The ops of a search's step become two (ops/search/joined.h) where `supported` takes them: search_turn with
// the beam_rows of table and history that follow it, search_begin; search_penalties, beam_candidates,
// beam_advance and search_keep, search_choice.
#pragma once
#include <functional>

#include "ir/graph.h"

namespace floe {

Graph join_search_steps(const Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported);

}  // namespace floe
