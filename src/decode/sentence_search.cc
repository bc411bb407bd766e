#include "decode/sentence_search.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "decode/loops.h"

namespace floe {
namespace {

constexpr int32_t kDead = -2;

}  // namespace

SentenceSearch::SentenceSearch(const SearchOptions& options, LengthLimits limits, size_t prefix)
    : options_(options), limits_(limits), prefix_(prefix) {}

int64_t SentenceSearch::min_length() const { return limits_.min; }

int32_t SentenceSearch::extend(const SearchStep& step, int32_t candidate) {
  const auto at = static_cast<size_t>(candidate);
  const int32_t parent = alive_[static_cast<size_t>(step.parents[at])];
  FLOE_CHECK(parent != kDead, "candidate {} continues a place that is not alive", candidate);
  nodes_.push_back({step.tokens[at], parent, step.log_probs[at], static_cast<double>(step.values[at])});
  return static_cast<int32_t>(nodes_.size()) - 1;
}

std::vector<int32_t> SentenceSearch::path(int32_t node) const {
  std::vector<int32_t> nodes;
  for (; node >= 0; node = nodes_[static_cast<size_t>(node)].parent) nodes.push_back(node);
  std::reverse(nodes.begin(), nodes.end());
  return nodes;
}

void SentenceSearch::finish(int32_t node, bool ended) {
  Hypothesis h;
  h.ended = ended;
  h.log_prob = node < 0 ? 0 : nodes_[static_cast<size_t>(node)].sum;
  for (const int32_t each : path(node)) {
    h.tokens.push_back(nodes_[static_cast<size_t>(each)].token);
    h.token_log_probs.push_back(nodes_[static_cast<size_t>(each)].log_prob);
  }
  h.score = options_.length_penalty.score(
      h.log_prob, std::max<int64_t>(1, static_cast<int64_t>(h.token_log_probs.size())));
  if (ended) h.tokens.pop_back();
  done_.add(std::move(h));
}

// The best path only: the others follow it, or overtake it once it is gone.
bool SentenceSearch::cut_loop() {
  if (options_.loop_ngram == 0 || alive_[0] < 0) return false;
  const std::vector<int32_t> nodes = path(alive_[0]);
  std::vector<int32_t> tokens;
  for (size_t i = prefix_; i < nodes.size(); ++i) {
    tokens.push_back(nodes_[static_cast<size_t>(nodes[i])].token);
  }
  const int64_t extra = looping_tokens(tokens, options_.loop_ngram, options_.loop_times);
  if (extra == 0) return false;
  if (done_.size() == 0) finish(nodes[nodes.size() - 1 - static_cast<size_t>(extra)], /*ended=*/false);
  return true;
}

bool SentenceSearch::step(const SearchStep& step) {
  const bool last = position_ + 1 >= limits_.max;
  const std::vector<int32_t> before = alive_;
  std::vector<int32_t> after;
  bool any_alive = false;
  for (size_t place = 0; place < step.picks.size(); ++place) {
    if (step.ended[place] >= 0) {
      if (place == 0) best_ended_ = true;
      finish(extend(step, step.ended[place]), /*ended=*/true);
    } else if (last && step.picks[place] >= 0) {
      finish(extend(step, step.picks[place]), /*ended=*/false);
    }
    const bool lives = !last && step.picks[place] >= 0;
    after.push_back(lives ? extend(step, step.picks[place]) : kDead);
    any_alive = any_alive || lives;
  }
  if (!any_alive && done_.size() == 0) {
    if (std::isnan(step.values[0])) {
      fail_user("the model gave no number for any token at position {}: its weights or the input are damaged",
                position_);
    }
    // Every continuation is forbidden: what there is stands.
    for (const int32_t node : before) {
      if (node != kDead) finish(node, /*ended=*/false);
    }
  }
  alive_ = std::move(after);
  ++position_;
  if (!any_alive || cut_loop()) return true;
  if (options_.length_penalty.alpha == 0) return best_ended_ && done_.size() >= options_.n_best;
  return done_.size() >= options_.max_ended();
}

}  // namespace floe
