#include "translate/options_check.h"

#include "base/error.h"

namespace floe {
namespace {

// Bounds the memory of a step; far beyond what helps a translation.
constexpr int64_t kMaxCandidates = 1024;

}  // namespace

void check_options(const ModelText& text, const TranslatorOptions& options) {
  FLOE_CHECK(text.max_source >= 2 && text.max_target >= 1, "a model for {} source and {} target tokens",
             text.max_source, text.max_target);
  const SearchOptions& search = options.search;
  search.validate(text.target.size());
  if (search.beam > text.target.size())
    fail_user("beam is {}, but the target vocabulary has only {} tokens", search.beam, text.target.size());
  if (search.beam > kMaxCandidates) fail_user("beam must be at most {}, got {}", kMaxCandidates, search.beam);
  if (search.n_best > kMaxCandidates)
    fail_user("n_best must be at most {}, got {}", kMaxCandidates, search.n_best);
  if (search.min_length > text.max_target)
    fail_user("min_length is {}, but the model gives at most {} tokens", search.min_length, text.max_target);
  if (options.batch_tokens < 1) fail_user("batch_tokens must be at least 1, got {}", options.batch_tokens);
  if (options.batch_rows < 1) fail_user("batch_rows must be at least 1, got {}", options.batch_rows);
  if (!options.split_sentences) return;
  if (search.n_best > 1)
    fail_user("n_best is {}, but a line that is split into sentences has one translation", search.n_best);
  if (options.attention.wanted) fail_user("a line that is split into sentences has no alignment");
}

}  // namespace floe
