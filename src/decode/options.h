// What a caller may ask of a search, and the lengths that follow for one sentence. Lengths count target
// tokens without the start token and without the end token; a prefix counts.
#pragma once
#include <cstdint>
#include <vector>

namespace floe {

// How hypotheses of different lengths are compared: score = log-probability / penalty(length), where the
// length counts the end token and the prefix.
//   power  length^alpha, as in CTranslate2 and Marian
//   gnmt   ((5 + length) / 6)^alpha (Wu et al., "Google's neural machine translation system", 2016)
struct LengthPenalty {
  enum class Kind { power, gnmt } kind = Kind::power;
  double alpha = 1;  // 0: log-probabilities as they are
  double score(double log_prob, int64_t length) const;
};

struct SamplingOptions {
  double temperature = 1;  // 0: the most probable token
  int64_t top_k = 0;       // 0: all
  double top_p = 1;
  uint32_t seed = 0;
};

struct SearchOptions {
  int64_t beam = 4;  // 1: greedy
  int64_t n_best = 1;
  double patience = 1;  // a search ends with beam * patience ended hypotheses (Kasai et al., "Beam decoding
                        // with controlled patience", 2022)
  LengthPenalty length_penalty;

  int64_t min_length = 1;
  double min_length_ratio = 0;  // times the source's length
  int64_t max_length = 256;
  double max_length_ratio = 3;  // times the source's length, plus the next; 0: only max_length counts
  int64_t max_length_extra = 10;

  std::vector<int32_t> ends;        // tokens that end a hypothesis
  std::vector<int32_t> suppressed;  // tokens that never occur outside a prefix
  double repetition_penalty = 1;
  int64_t no_repeat_ngram = 0;  // 0: off

  // A hypothesis whose last tokens are one n-gram of at most this size, loop_times in a row, is cut after the
  // first.
  int64_t loop_ngram = 0;  // 0: off
  int64_t loop_times = 4;

  bool sampling = false;  // n_best draws instead of a beam
  SamplingOptions sample;

  // n_best different tokens at the first free position, best first, each continued by its own search.
  bool alternatives = false;
  double min_alternative_probability = 0;  // a token below it is no alternative

  // Throws Error{user} naming the option, its value and what would be right.
  void validate(int64_t vocabulary) const;

  int64_t max_ended() const;  // beam * patience, rounded
};

struct LengthLimits {
  int64_t min = 1;
  int64_t max = 1;
};
// `capacity` is the longest target that the model takes.
LengthLimits limits_for(const SearchOptions& options, int64_t source_length, int64_t capacity);

}  // namespace floe
