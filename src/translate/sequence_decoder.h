// What the door between text and ids needs of a decoder: rows of source ids in, n-best rows of target ids
// out.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace floe {

struct SamplingOptions {
  double temperature = 1;
  int64_t top_k = 0;  // 0: all
  double top_p = 1;   // 1: all
  uint64_t seed = 0;
};

// The same for all rows of a call.
struct SearchOptions {
  int64_t beam = 4;
  int64_t n_best = 1;
  double length_penalty = 1;  // score = log probability / length^penalty; the end token counts as one
  std::optional<SamplingOptions> sampling;  // n_best independent samples in place of a beam
  double repetition_penalty = 1;
  int64_t no_repeat_ngram = 0;  // 0: any may repeat
  std::vector<int32_t> suppressed;
  bool attention = false;
  int64_t attention_layer = -1;          // decoder layer; negative ones count from the last
  std::vector<int64_t> attention_heads;  // their mean is given; empty: all heads
};

struct SequenceRow {
  std::vector<int32_t> source;  // as the encoder reads it, special ids included
  std::vector<int32_t> prefix;  // the target begins with it
  int64_t min_length = 0;       // ids of the target, neither start nor end token counted
  int64_t max_length = 0;
  uint64_t ordinal = 0;  // names the row in random draws: the same row draws the same beside any others
};

struct SequenceHypothesis {
  std::vector<int32_t> ids;  // without start and end token
  double log_probability = 0;
  double score = 0;
  std::vector<float> attention;  // [ids, source], each row a distribution; empty unless asked for
};

class SequenceDecoder {
 public:
  virtual ~SequenceDecoder() = default;
  // In the rows' order; of each row 1 to n_best hypotheses, best score first, no two with the same ids
  // (samples may repeat). std::bad_alloc and Error{device} mean that the rows were too much at once.
  virtual std::vector<std::vector<SequenceHypothesis>> decode(std::span<const SequenceRow> rows,
                                                              const SearchOptions& options) = 0;
};

}  // namespace floe
