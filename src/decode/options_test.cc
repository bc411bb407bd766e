#include "decode/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "base/error.h"
#include "decode/hypothesis.h"
#include "decode/loops.h"

namespace floe {
namespace {

std::string refusal(const std::function<void(SearchOptions&)>& change) {
  SearchOptions options;
  options.ends = {2};
  change(options);
  try {
    options.validate(10);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::user);
    return e.what();
  }
  return "";
}

TEST(SearchOptions, DefaultsWithAnEndTokenAreValid) {
  EXPECT_EQ(refusal([](SearchOptions&) {}), "");
}

TEST(SearchOptions, EveryRefusalNamesItsOption) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<std::function<void(SearchOptions&)>, std::string>> cases{
      {[](SearchOptions& o) { o.beam = 0; }, "beam must be at least 1, got 0"},
      {[](SearchOptions& o) { o.n_best = 0; }, "n_best must be at least 1, got 0"},
      {[](SearchOptions& o) { o.patience = 0; }, "patience must be above 0, got 0"},
      {[](SearchOptions& o) { o.n_best = 5; },
       "n_best is 5, but a beam of 4 with patience 1 ends with 4 hypotheses"},
      {[](SearchOptions& o) { o.sampling = o.alternatives = true; },
       "alternatives are found by a beam: sampling must be off"},
      {[=](SearchOptions& o) { o.length_penalty.alpha = nan; }, "the length penalty must be a finite number"},
      {[](SearchOptions& o) { o.min_length = -1; }, "min_length must be at least 0, got -1"},
      {[](SearchOptions& o) { o.max_length = 0; }, "max_length must be at least 1, got 0"},
      {[](SearchOptions& o) { o.min_length = 300; }, "min_length 300 is above max_length 256"},
      {[=](SearchOptions& o) { o.min_length_ratio = nan; }, "min_length_ratio must be at least 0, got nan"},
      {[](SearchOptions& o) { o.max_length_ratio = -1; }, "max_length_ratio must be at least 0, got -1"},
      {[](SearchOptions& o) { o.max_length_extra = -1; }, "max_length_extra must be at least 0, got -1"},
      {[](SearchOptions& o) { o.repetition_penalty = 0; }, "repetition_penalty must be above 0, got 0"},
      {[](SearchOptions& o) { o.no_repeat_ngram = -2; }, "no_repeat_ngram must be at least 0, got -2"},
      {[](SearchOptions& o) { o.loop_ngram = -1; }, "loop_ngram must be at least 0, got -1"},
      {[](SearchOptions& o) { o.loop_times = 1; }, "loop_times must be at least 2, got 1"},
      {[](SearchOptions& o) { o.ends.clear(); }, "a search needs at least one end token"},
      {[](SearchOptions& o) { o.ends = {10}; }, "end token 10 is outside 0..9"},
      {[](SearchOptions& o) { o.suppressed = {-1}; }, "suppressed token -1 is outside 0..9"},
      {[](SearchOptions& o) { o.sample.temperature = -1; }, "temperature must be at least 0, got -1"},
      {[](SearchOptions& o) { o.sample.top_k = -1; }, "top_k must be at least 0, got -1"},
      {[](SearchOptions& o) { o.sample.top_p = 0; }, "top_p must be above 0 and at most 1, got 0"},
      {[](SearchOptions& o) { o.min_alternative_probability = 2; },
       "min_alternative_probability must be in 0..1, got 2"}};
  for (const auto& [change, message] : cases) EXPECT_EQ(refusal(change), message);
}

TEST(SearchOptions, SamplesAndAlternativesMayOutnumberTheBeam) {
  EXPECT_EQ(refusal([](SearchOptions& o) { o.sampling = true, o.n_best = 50; }), "");
  EXPECT_EQ(refusal([](SearchOptions& o) { o.alternatives = true, o.n_best = 50; }), "");
}

TEST(LengthPenalty, CountsAsItsPapersSay) {
  EXPECT_DOUBLE_EQ((LengthPenalty{.alpha = 1}.score(-6, 3)), -2);
  EXPECT_DOUBLE_EQ((LengthPenalty{.alpha = 0}.score(-6, 3)), -6);
  EXPECT_DOUBLE_EQ((LengthPenalty{.alpha = 0.5}.score(-6, 4)), -3);
  EXPECT_DOUBLE_EQ((LengthPenalty{LengthPenalty::Kind::gnmt, 2}.score(-8, 7)), -2);
}

TEST(LengthLimits, ComeFromTheSourceTheOptionsAndTheModel) {
  SearchOptions options;
  EXPECT_EQ(limits_for(options, 5, 1000).max, 25);  // 3 * 5 + 10
  EXPECT_EQ(limits_for(options, 500, 1000).max, 256);
  EXPECT_EQ(limits_for(options, 500, 64).max, 64);
  options.max_length_ratio = 0;
  EXPECT_EQ(limits_for(options, 5, 1000).max, 256);
  options.min_length_ratio = 0.5;
  EXPECT_EQ(limits_for(options, 5, 1000).min, 3);
  options.min_length_ratio = 100;
  EXPECT_EQ(limits_for(options, 5, 1000).min, 256);
}

TEST(LengthLimits, AMinimumInTokensBeatsARelativeMaximum) {
  SearchOptions options;
  options.min_length = 40;
  EXPECT_EQ(limits_for(options, 2, 1000).max, 40);
}

Hypothesis with(std::vector<int32_t> tokens, double score) {
  Hypothesis h;
  h.tokens = std::move(tokens);
  h.score = score;
  return h;
}

TEST(NBest, IsSortedAndDistinct) {
  NBest list;
  list.add(with({1}, -3));
  list.add(with({2}, -1));
  list.add(with({1}, -2));
  list.add(with({3}, -1));
  list.add(with({2}, -5));
  ASSERT_EQ(list.size(), 3);
  const auto best = list.take(2);
  ASSERT_EQ(best.size(), 2u);
  EXPECT_EQ(best[0].tokens, std::vector<int32_t>{2});
  EXPECT_EQ(best[1].tokens, std::vector<int32_t>{3});
}

TEST(Loops, AreFoundAtTheEndOnly) {
  EXPECT_EQ(looping_tokens(std::vector<int32_t>{5, 1, 2, 1, 2, 1, 2}, 2, 3), 4);
  EXPECT_EQ(looping_tokens(std::vector<int32_t>{5, 1, 2, 1, 2, 1, 2}, 1, 3), 0);
  EXPECT_EQ(looping_tokens(std::vector<int32_t>{1, 2, 1, 2, 1, 2, 5}, 2, 3), 0);
  EXPECT_EQ(looping_tokens(std::vector<int32_t>{7, 7, 7, 7}, 4, 4), 3);
  EXPECT_EQ(looping_tokens(std::vector<int32_t>{7, 7, 7}, 4, 4), 0);
  EXPECT_EQ(looping_tokens(std::vector<int32_t>{}, 4, 2), 0);
  EXPECT_EQ(looping_tokens(std::vector<int32_t>{7, 7, 7, 7}, 0, 2), 0);
}

}  // namespace
}  // namespace floe
