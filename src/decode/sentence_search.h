// One sentence's side of a search: it reads what each step found, remembers the paths, collects hypotheses
// and says when to stop. The step itself (penalties, candidates, who continues) is computed where the model
// runs; see ops/search/search.h, whose rules this follows. The rules are CTranslate2's:
//
// - Ended hypotheses are the candidates among the best `beam` that carry an end token; a later candidate
// takes the
//   place, so `beam` paths stay alive.
// - At the length limit the best `beam` candidates are hypotheses as they are.
// - The search stops with beam * patience hypotheses; without length penalty as soon as the best candidate
// has ended
//   once and there are n_best, for log-probabilities only fall.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "decode/hypothesis.h"
#include "decode/options.h"

namespace floe {

// A sentence's line of a step's results. C candidates, best first; `beam` places.
struct SearchStep {
  std::span<const float> values;     // [C]
  std::span<const int32_t> tokens;   // [C], -1: none
  std::span<const int32_t> parents;  // [C], place in the step that was
  std::span<const float> log_probs;  // [C]
  std::span<const int32_t> picks;    // [beam], candidate that lives on in that place, -1: none
  std::span<const int32_t> ended;    // [beam], candidate that ended there, -1: none
};

class SentenceSearch {
 public:
  // The options stay the caller's. The first `prefix` tokens are forced by the step; a prefix that is longer
  // than the limit is cut there.
  SentenceSearch(const SearchOptions& options, LengthLimits limits, size_t prefix);

  // Before a step:
  int64_t position() const { return position_; }  // how many target tokens each path has
  int64_t min_length() const;                     // end tokens are forbidden below it
  const LengthLimits& limits() const { return limits_; }

  // Takes a step's results; true when the search is over. Throws Error{user} when the model gave no number.
  bool step(const SearchStep& step);

  std::vector<Hypothesis> take(int64_t n) { return done_.take(n); }

 private:
  struct Node {
    int32_t token;
    int32_t parent;  // -1: the start
    float log_prob;
    double sum;
  };
  int32_t extend(const SearchStep& step, int32_t candidate);
  void finish(int32_t node, bool ended);
  std::vector<int32_t> path(int32_t node) const;
  bool cut_loop();

  const SearchOptions& options_;
  LengthLimits limits_;
  size_t prefix_;
  int64_t position_ = 0;
  bool best_ended_ = false;
  std::vector<Node> nodes_;
  std::vector<int32_t> alive_{-1};  // by place: its last node; -1: the start
  NBest done_;
};

}  // namespace floe
