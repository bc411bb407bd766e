// Many searches at once over one model: sentences enter while there is room, take part in every step, and
// leave when they are done. Rows move by number only; the caches' contents never move.
//
// Sentences enter and leave between epochs. Within one, steps follow one another on the device: on a GPU the
// host queues the next step before it reads what the last one found, so that the device never waits for it. A
// sentence that is done stays a row that nobody reads until the epoch ends, which it does when an eighth of
// its sentences could be replaced, or when half of the rows are idle and nothing is left to enter.
//
// Positions of the self cache belong to a sentence for as long as it lives: place k of its beam writes
// position t at slots + k * (its longest length) + t, once; so whatever a path's ancestors wrote stays
// readable until the sentence leaves, and nothing needs to be counted or freed.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
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

// Sentence steps: those that a sentence was searched in, and all that were computed.
struct Occupancy {
  int64_t used = 0, all = 0;
};

class BatchSearch {
 public:
  // `encoder` has the entry "encode" (unused without encoder), `stepper` the entry of search_graph. `epoch`
  // is the last that their state has seen, and is kept up to date: it must outlive every search over that
  // state.
  struct Sessions {
    Session* encoder;
    Session* stepper;
    int32_t* epoch;
    Occupancy* occupancy;
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

  bool epoch_is_over(bool more_to_come) const;
  bool admit(SearchJob& job);
  void admit_all(std::span<SearchJob> jobs, size_t* next);
  void encode(std::span<Sentence> fresh);
  void encode_together(std::span<Sentence> fresh);
  void begin_epoch();
  void launch();
  void take();  // the results of the oldest step under way
  void leave(Sentence& sentence);

  const ModelConfig& config_;
  const SearchOptions& options_;
  SearchRoom room_;
  Sessions sessions_;
  Ranges positions_;
  Ranges blocks_;
  size_t ahead_;  // steps that are queued before the results of one are read
  std::vector<Sentence> live_;
  int64_t sentences_ = 0;             // of the epoch, dead ones included
  std::unique_ptr<StepFeeds> feeds_;  // of the epoch
  int64_t launched_ = 0;              // steps of the epoch
  std::deque<uint64_t> under_way_;    // tickets
};

}  // namespace floe
