#include "translate/translator_options.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace floe {
namespace {

// Bounds the memory of a step; far beyond what helps a translation.
constexpr int64_t kMaxBeam = 1024;

template <class T>
void check_range(const char* name, T value, T low, T high) {
  if (!(value >= low && value <= high))
    fail_user("{} is {}; it must lie between {} and {}", name, value, low, high);
}

template <class T>
void check_at_least(const char* name, T value, T low) {
  if (!(value >= low) || !std::isfinite(static_cast<double>(value)))
    fail_user("{} is {}; it must be at least {}", name, value, low);
}

void check_search(const SearchOptions& search, int64_t vocabulary) {
  check_range<int64_t>("beam", search.beam, 1, kMaxBeam);
  check_range<int64_t>("n-best", search.n_best, 1, kMaxBeam);
  if (search.beam > vocabulary)
    fail_user("beam is {}; the target vocabulary has only {} tokens", search.beam, vocabulary);
  if (!search.sampling && search.n_best > search.beam)
    fail_user("n-best is {}; a beam of {} gives at most {}", search.n_best, search.beam, search.beam);
  check_at_least("length penalty", search.length_penalty, 0.0);
  check_at_least("repetition penalty", search.repetition_penalty, 1.0);
  check_at_least<int64_t>("no-repeat n-gram", search.no_repeat_ngram, 0);
  if (search.sampling) {
    if (!(search.sampling->temperature > 0) || !std::isfinite(search.sampling->temperature))
      fail_user("temperature is {}; it must be above 0", search.sampling->temperature);
    check_at_least<int64_t>("top-k", search.sampling->top_k, 0);
    if (!(search.sampling->top_p > 0 && search.sampling->top_p <= 1))
      fail_user("top-p is {}; it must be above 0 and at most 1", search.sampling->top_p);
  }
}

}  // namespace

void check_options(const ModelText& text, const TranslatorOptions& options) {
  FLOE_CHECK(text.max_source >= 2 && text.max_target >= 1, "a model for {} source and {} target tokens",
             text.max_source, text.max_target);
  check_search(options.search, text.target.size());
  check_range<int64_t>("minimum length", options.min_length, 0, text.max_target);
  check_at_least<int64_t>("maximum length", options.max_length, 0);
  if (options.max_length > 0 && options.min_length > options.max_length)
    fail_user("minimum length is {}, above the maximum length of {}", options.min_length, options.max_length);
  check_at_least("minimum length ratio", options.min_length_ratio, 0.0);
  check_at_least("maximum length ratio", options.max_length_ratio, 0.0);
  if (options.max_length_ratio > 0 && options.min_length_ratio > options.max_length_ratio)
    fail_user("minimum length ratio is {}, above the maximum length ratio of {}", options.min_length_ratio,
              options.max_length_ratio);
  check_at_least<int64_t>("batch tokens", options.batch_tokens, 1);
  check_at_least<int64_t>("batch rows", options.batch_rows, 1);
  if (options.split_sentences && options.search.n_best > 1)
    fail_user("n-best is {}; lines that are split into sentences have one translation",
              options.search.n_best);
  if (options.split_sentences && options.search.attention)
    fail_user("lines that are split into sentences have no alignments");
}

TargetLengths target_lengths(const TranslatorOptions& options, int64_t model_max, int64_t source,
                             int64_t prefix) {
  const auto times = [&](double ratio) {
    // Clamped before the cast, which would be undefined for huge values.
    return static_cast<int64_t>(
        std::min(std::ceil(ratio * static_cast<double>(source)), static_cast<double>(model_max)));
  };
  TargetLengths out;
  out.max = model_max;
  if (options.max_length_ratio > 0)
    out.max = std::min(out.max, std::max(times(options.max_length_ratio), prefix) + kLengthMargin);
  out.max = std::max(out.max, options.min_length);
  if (options.max_length > 0) out.max = std::min(out.max, options.max_length);
  out.min = std::min(std::max(options.min_length, times(options.min_length_ratio)), out.max);
  return out;
}

}  // namespace floe
