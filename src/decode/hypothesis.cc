#include "decode/hypothesis.h"

#include <algorithm>

namespace floe {

void NBest::add(Hypothesis hypothesis) {
  const auto same = std::find_if(list_.begin(), list_.end(),
                                 [&](const Hypothesis& other) { return other.tokens == hypothesis.tokens; });
  if (same != list_.end()) {
    if (same->score >= hypothesis.score) return;
    list_.erase(same);
  }
  const auto at = std::find_if(list_.begin(), list_.end(),
                               [&](const Hypothesis& other) { return other.score < hypothesis.score; });
  list_.insert(at, std::move(hypothesis));
}

std::vector<Hypothesis> NBest::take(int64_t n) {
  if (size() > n) list_.resize(static_cast<size_t>(n));
  return std::move(list_);
}

}  // namespace floe
