// One step of a search as ops of the step graph, so that it runs where the model runs:
//
//   search_turn -> the model's step -> search_penalties -> beam_candidates or sample -> beam_advance ->
//   search_keep
//
// search_keep leaves who continues where the next step's search_turn finds it, so that steps follow one
// another without the host. beam_rows carries each row's history and its table of cache entries from the row
// that it continues. Rows lie sentence by sentence: row = sentence * beam + place. Options are small tensors
// with a line a sentence, so sentences with different options share a batch. A sentence's results do not
// depend on the other sentences, bit for bit.
#pragma once
#include <cstdint>

#include "ir/builder.h"

namespace floe {

// Repetition penalty as in Keskar et al., "CTRL" (2019): a logit of a token already in the row is divided by
// the penalty when positive, else multiplied, once however often the token occurs. Everything else sets
// logits to -inf. A forced token is applied last: it alone stays, whatever else says.
struct SearchPenalties {
  Value logits;      // f32 [R, V]
  Value history;     // i32 [R or more, P]: what the row holds so far, without the start token
  Value lengths;     // i32 [R]: how much of it
  Value repetition;  // f32 [B]: 1 changes nothing
  Value ngram;       // i32 [B]: no n-gram of that size twice; 0: any
  Value min_length;  // i32 [B]: ends are forbidden while lengths < min_length
  Value ends;        // i32 [B, E]; ids outside 0..V-1 mean nothing (pad with -1)
  Value suppressed;  // i32 [B, S], pad with -1
  Value forced;      // i32 [B]: -1 none
  int64_t beam = 1;  // R = B * beam
};
Value search_penalties(Builder& b, const SearchPenalties& args);  // f32 [R, V]

struct Candidates {
  Value values;     // f32 [B, C]: score of the row + log-probability of the token, best first
  Value tokens;     // i32 [B, C]; -1: there is no such candidate
  Value parents;    // i32 [B, C]: place of the row within its sentence; -1 as above
  Value log_probs;  // f32 [B, C]: of the token alone
};

// The C best continuations of each sentence over its rows; equal ones by place, then id. A row whose score is
// -inf is not alive: it gives none. A row with a NaN gives none either; where a sentence then has fewer than
// C, the missing values are NaN instead of -inf, so that the fault shows.
Candidates beam_candidates(Builder& b, Value logits /*[B*K, V]*/, Value scores /*f32 [B*K]*/, int64_t beam,
                           int64_t candidates);

// One draw a row, given as candidates with C = 1. The number drawn depends only on (seed, op_id) and on
// (ordinal, draw, position): not on where the row lies in the batch. Probabilities are softmax(logits /
// temperature); the top_k most probable are kept (0: all), then the fewest of the most probable whose sum
// reaches top_p. temperature 0 takes the most probable. log_probs are those of the logits as given.
struct SampleArgs {
  Value logits;       // f32 [R, V]
  Value scores;       // f32 [R]
  Value temperature;  // f32 [R]
  Value top_k;        // i32 [R]
  Value top_p;        // f32 [R]
  Value seeds;        // i32 [R]
  Value ordinals;     // i32 [R]: of the sentence in what was given to translate
  Value draws;        // i32 [R]: which of the sentence's samples
  Value positions;    // i32 [R]
  int64_t op_id = 0;
};
Candidates sample(Builder& b, const SampleArgs& args);

// What the next step starts from. Among a sentence's first `beam` candidates those with an end token are
// ended hypotheses; the best later candidates without one take their places.
//   phase 0  inside a forced prefix: no token ends a hypothesis
//   phase 1  the first step after a prefix: an end token counts only as the best candidate, for the prefix
//   alone
//            would often outscore every translation (CTranslate2 issue 277)
//   phase 2  any other
struct Advance {
  Value rows;    // i32 [B * beam]: the row of this step that the new row continues
  Value tokens;  // i32 [B * beam]: what it reads next; 0 where it is not alive
  Value scores;  // f32 [B * beam]; -inf: not alive
  Value picks;   // i32 [B, beam]: the candidate in that place, -1: none
  Value ended;   // i32 [B, beam]: the candidate that ended in that place, -1: none
};
Advance beam_advance(Builder& b, const Candidates& candidates, Value ends /*i32 [B, E]*/,
                     Value phase /*i32 [B]*/, int64_t beam_in, int64_t beam);

// Steps follow one another in an epoch: its first step starts from what is given, every later one from what
// the step before has kept. A row is not alive when its score is -inf or its sentence has reached its limit;
// it then reads token 0 at position 0 of nothing and writes nowhere.
struct SearchTurn {
  Value clock;                 // i32 [2], a state: the epoch of the last step, its steps before
  Value epoch;                 // i32 []: another number than the clock's begins a new one
  Value rows, tokens, scores;  // the states of search_keep
  Value start_rows, start_tokens, start_scores;  // i32, i32, f32 [R]: of an epoch's first step
  Value start_positions;                         // i32 [B]: target tokens that the sentence has then
  Value first_slots;     // i32 [B]: place k writes position t to entry first + k * limit + t
  Value limits;          // i32 [B]: the most target tokens; 0: there is no sentence
  Value prefix;          // i32 [B, F]: what the target must begin with
  Value prefix_lengths;  // i32 [B]
};
struct Turn {
  Value clock;                 // the state's new value
  Value rows, tokens, scores;  // [R]
  Value positions;             // i32 [R]: of the token that is read
  Value lengths;               // i32 [R]: positions + 1; 0: not alive
  Value slots;                 // i32 [R]: cache entry of the new position; -1: not alive
  Value past;                  // i32 [R]: positions - 1, where the token belongs in the history
  Value forced, phase;         // i32 [B], of search_penalties and beam_advance
};
Turn search_turn(Builder& b, const SearchTurn& args, int64_t beam);

struct Kept {
  Value rows, tokens, scores;  // i32, i32, f32 [M]
};
// The states with their first R lines as `next` has them. In place.
Kept search_keep(Builder& b, const Kept& before, const Advance& next);

// A state with a line a row: line r becomes what line rows[r] was, with `entries[r]` at positions[r] (nothing
// is written where that is outside 0..P-1). Lines from R on stay. In place.
struct BeamRows {
  Value state;    // i32 [M, P]
  Value current;  // i32 [R, P]: its first R lines
};
BeamRows beam_rows(Builder& b, Value state, Value rows, Value positions, Value entries);

}  // namespace floe
