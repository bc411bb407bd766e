// The step graph of a decoder with its search: who each row is by now, logits of R rows, then penalties,
// candidates or draws, and who continues. R = B * beam, sentence by sentence. Steps follow one another
// without the host: what a step leaves in the states of kSearchStates is what the next one reads, until an
// input `epoch` that is new makes it start from the inputs again (ops/search/search.h: SearchTurn).
//
// Inputs beside those of nn/transformer.h (cross_table, cross_lengths), all i32 unless noted:
//   epoch [], start_rows, start_tokens, start_scores (f32) [R], start_positions, first_slots, limits [B],
//   prefix [B, F], prefix_lengths [B]                                     (SearchTurn)
//   repetition (f32), ngram, min_length [B], ends [B, E], suppressed [B, U]  (SearchPenalties)
//   temperature, top_p (f32), top_k, seeds, ordinals, draws [R]           (sampling)
// Dim T, without cache: the positions that are read anew, the row's newest included.
// Outputs: values, candidates, parents, log_probs [B, C]; picks, ended [B, beam]. All states change in place.
#pragma once
#include <string>

#include "ir/graph.h"
#include "nn/transformer.h"

namespace floe {

struct SearchGraphOptions {
  int64_t beam = 1;
  bool sampling = false;  // beam = 1, one candidate
  bool cached = true;     // false: the whole prefix is read anew at every step
  int64_t positions = 0;  // of a line of the states: the longest target
  CacheOptions cache;
};
// The entry is named kSearchEntry.
Graph search_graph(const ModelConfig& config, const SearchGraphOptions& options);

constexpr const char* kSearchEntry = "step";
constexpr const char* kHistoryState = "search.history";  // i32 [M, positions]
constexpr const char* kTableState = "search.table";      // i32 [M, positions]
constexpr const char* kClockState = "search.clock";      // i32 [2]
constexpr const char* kRowsState = "search.rows";        // i32 [M]
constexpr const char* kTokensState = "search.tokens";    // i32 [M]
constexpr const char* kScoresState = "search.scores";    // f32 [M]

}  // namespace floe
