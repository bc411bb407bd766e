// The step graph of a decoder with its search: logits of R rows, then penalties, candidates or draws, and who
// continues. R = B * beam_in, sentence by sentence.
//
// Inputs beside those of nn/transformer.h (tokens, lengths, cross_table, cross_lengths), all i32 unless
// noted:
//   positions [R]   of the token that is read
//   rows      [R]   the row of the step before that this row continues; any for a new one
//   slots     [R]   cache entry of the new position, -1: the row is not alive     (cached)
//   newest    [R]   the last of `tokens`                                          (uncached)
//   past      [R]   where the token that is read belongs in the history: positions - 1, the start token
//   nowhere scores    [R]   f32, -inf: the row is not alive repetition [B] f32, ngram, min_length, forced,
//   phase [B], ends [B, E], suppressed [B, U] temperature, top_p [R] f32, top_k, seeds, ordinals, draws [R]
//   (sampling)
// Outputs: values, candidates, parents, log_probs [B, C]; picks, ended [B, beam]; next_rows, next_tokens,
// next_scores [B * beam]. States search.history and search.table [M, P] change in place.
#pragma once
#include <string>

#include "ir/graph.h"
#include "nn/transformer.h"

namespace floe {

struct SearchGraphOptions {
  std::string name;  // of the entry
  int64_t beam_in = 1;
  int64_t beam = 1;
  bool sampling = false;  // beam_in = beam = 1, one candidate
  bool cached = true;     // false: `tokens` [R, T] is read anew at every step
  CacheOptions cache;
};
Graph search_graph(const ModelConfig& config, const SearchGraphOptions& options);

constexpr const char* kHistoryState = "search.history";
constexpr const char* kTableState = "search.table";

}  // namespace floe
