// Many searches at once over one model: sentences enter while there is room, take part in every step, and
// leave when they are done. Rows move by number only; the caches' contents never move.
//
// Positions of the self cache belong to a sentence for as long as it lives: place k of its beam writes
// position t at slots + k * (its longest length) + t, once; so whatever a path's ancestors wrote stays
// readable until the sentence leaves, and nothing needs to be counted or freed.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "decode/sentence_search.h"
#include "nn/config.h"
#include "runtime/session.h"
#include "translate/ranges.h"

namespace floe {

struct SearchJob {
  std::span<const int32_t> source;  // empty without encoder
  std::vector<int32_t> prefix;
  LengthLimits limits;
  int32_t ordinal = 0;  // of the sentence, and
  int32_t draw = 0;     // which of its samples: they key the random draws
  float start_score = 0;
  std::vector<Hypothesis> hypotheses;  // the result
};

struct SearchRoom {
  int64_t rows = 0;       // of a step
  int64_t positions = 0;  // of the self cache
  int64_t cross_blocks = 0;
  int64_t cross_block = 16;
  bool cached = true;
};

class BatchSearch {
 public:
  // `encoder` has the entry "encode" (unused without encoder), `stepper` the entries "next" and, for a beam
  // above 1, "first": one row a sentence in, beam rows out.
  struct Sessions {
    Session* encoder;
    Session* stepper;
  };
  BatchSearch(const ModelConfig& config, const SearchOptions& options, const SearchRoom& room,
              Sessions sessions);

  ~BatchSearch();

  // Throws Error{user} for a beam wider than the rows there are, OutOfMemory naming what a job needs and
  // what there is, when it cannot fit even alone.
  void run(std::span<SearchJob> jobs);

 private:
  struct Sentence;
  struct StepFeeds;

  bool admit(SearchJob& job);
  void admit_all(std::span<SearchJob> jobs, size_t* next);
  void encode(std::span<Sentence> fresh);
  void step();
  void fill(StepFeeds& feeds, int64_t sentences) const;
  void leave(const Sentence& sentence);

  const ModelConfig& config_;
  const SearchOptions& options_;
  SearchRoom room_;
  Sessions sessions_;
  Ranges positions_;
  Ranges blocks_;
  int64_t width_ = 1;  // rows a sentence has in the coming step
  std::vector<Sentence> live_;
};

}  // namespace floe
