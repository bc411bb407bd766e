#include "decode/options.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace floe {
namespace {

void check_ids(const std::vector<int32_t>& ids, const char* what, int64_t vocabulary) {
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocabulary) fail_user("{} {} is outside 0..{}", what, id, vocabulary - 1);
  }
}

void at_least(const char* name, double value, double least) {
  if (!(value >= least)) fail_user("{} must be at least {}, got {}", name, least, value);
}

}  // namespace

double LengthPenalty::score(double log_prob, int64_t length) const {
  if (alpha == 0) return log_prob;
  const auto n = static_cast<double>(length);
  return log_prob / std::pow(kind == Kind::power ? n : (5 + n) / 6, alpha);
}

int64_t SearchOptions::max_ended() const {
  return static_cast<int64_t>(std::llround(static_cast<double>(beam) * patience));
}

void SearchOptions::validate(int64_t vocabulary) const {
  at_least("beam", static_cast<double>(beam), 1);
  at_least("n_best", static_cast<double>(n_best), 1);
  if (!(patience > 0) || !std::isfinite(patience)) fail_user("patience must be above 0, got {}", patience);
  if (!sampling && !alternatives && n_best > max_ended()) {
    fail_user("n_best is {}, but a beam of {} with patience {} ends with {} hypotheses", n_best, beam,
              patience, max_ended());
  }
  if (sampling && alternatives) fail_user("alternatives are found by a beam: sampling must be off");
  if (!std::isfinite(length_penalty.alpha)) fail_user("the length penalty must be a finite number");
  at_least("min_length", static_cast<double>(min_length), 0);
  at_least("min_length_ratio", min_length_ratio, 0);
  at_least("max_length", static_cast<double>(max_length), 1);
  at_least("max_length_ratio", max_length_ratio, 0);
  at_least("max_length_extra", static_cast<double>(max_length_extra), 0);
  if (min_length > max_length) fail_user("min_length {} is above max_length {}", min_length, max_length);
  if (!(repetition_penalty > 0) || !std::isfinite(repetition_penalty)) {
    fail_user("repetition_penalty must be above 0, got {}", repetition_penalty);
  }
  at_least("no_repeat_ngram", static_cast<double>(no_repeat_ngram), 0);
  at_least("loop_ngram", static_cast<double>(loop_ngram), 0);
  at_least("loop_times", static_cast<double>(loop_times), 2);
  if (ends.empty()) fail_user("a search needs at least one end token");
  check_ids(ends, "end token", vocabulary);
  check_ids(suppressed, "suppressed token", vocabulary);
  at_least("temperature", sample.temperature, 0);
  at_least("top_k", static_cast<double>(sample.top_k), 0);
  if (!(sample.top_p > 0 && sample.top_p <= 1)) {
    fail_user("top_p must be above 0 and at most 1, got {}", sample.top_p);
  }
  if (!(min_alternative_probability >= 0 && min_alternative_probability <= 1)) {
    fail_user("min_alternative_probability must be in 0..1, got {}", min_alternative_probability);
  }
}

LengthLimits limits_for(const SearchOptions& options, int64_t source_length, int64_t capacity) {
  const auto times = [&](double ratio) {
    return static_cast<int64_t>(std::ceil(ratio * static_cast<double>(source_length)));
  };
  LengthLimits limits;
  limits.max = std::min(options.max_length, capacity);
  limits.min = std::max(options.min_length, times(options.min_length_ratio));
  if (options.max_length_ratio > 0) {
    // A minimum that was asked for in tokens is meant; the relative maximum gives way.
    const int64_t relative = times(options.max_length_ratio) + options.max_length_extra;
    limits.max = std::min(limits.max, std::max(relative, limits.min));
  }
  limits.max = std::max<int64_t>(limits.max, 1);
  limits.min = std::min(limits.min, limits.max);
  return limits;
}

}  // namespace floe
