// What a pass makes of the ops of a search's step (passes/search_steps.h), so that a device starts one kernel
// before the model and one behind it. Each means the ops that it is made of, in their order.
#pragma once
#include "ir/op.h"
#include "ops/search/search.h"

namespace floe {

// search_turn; then beam_rows of the table of cache entries, by its rows, slots and positions, and of the
// history, by its rows, tokens and past.
struct SearchBegin {
  SearchTurn turn;
  Value table, history;  // i32 [M, P], states
  int64_t beam = 1;
};
struct Begun {
  Turn turn;
  BeamRows table, history;
};
Begun search_begin(Builder& b, const SearchBegin& args);

// search_penalties, beam_candidates, beam_advance and search_keep.
struct SearchChoice {
  SearchPenalties penalties;  // its beam is that of all
  Value scores;               // f32 [R], of beam_candidates
  Value phase;                // i32 [B], of beam_advance
  Kept before;
  int64_t candidates = 1;
};
struct Choice {
  Value logits;  // with the penalties
  Candidates candidates;
  Value picks, ended;  // i32 [B, beam]
  Kept kept;
};
Choice search_choice(Builder& b, const SearchChoice& args);

void define_joined(OpTable& table);  // a part of define_search

}  // namespace floe
