#include "decode/sentence_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"
#include "decode/search_driver_for_test.h"

namespace floe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Tokens = std::vector<int32_t>;

constexpr int32_t kEnd = 0;
constexpr int64_t kVocabulary = 4;

// Logits drawn from the path alone, so that every search sees the same model.
Script random_model(uint32_t seed, int64_t vocabulary = kVocabulary) {
  return [=](const Tokens& tokens) {
    std::vector<uint32_t> words{seed};
    for (const int32_t token : tokens) words.push_back(static_cast<uint32_t>(token) + 1000);
    std::seed_seq mix(words.begin(), words.end());
    std::mt19937 random(mix);
    std::normal_distribution<float> normal(0, 1.5f);
    std::vector<float> logits;
    for (int64_t i = 0; i < vocabulary; ++i) logits.push_back(normal(random));
    return logits;
  };
}

std::vector<double> log_softmax(const std::vector<float>& logits, bool allow_end) {
  std::vector<double> x(logits.begin(), logits.end());
  if (!allow_end) x[kEnd] = -std::numeric_limits<double>::infinity();
  double sum = 0;
  for (const double v : x) sum += std::exp(v);
  for (double& v : x) v -= std::log(sum);
  return x;
}

struct Scored {
  Tokens tokens;
  double log_prob;
  int64_t length;  // with the end token
};

// Every sequence there is, of at most limits.max tokens.
void enumerate(const Script& script, LengthLimits limits, const Tokens& tokens, double log_prob,
               std::vector<Scored>* all) {
  const auto length = static_cast<int64_t>(tokens.size());
  const auto log_probs = log_softmax(script(tokens), length >= limits.min);
  for (int32_t id = 0; id < static_cast<int32_t>(log_probs.size()); ++id) {
    const double sum = log_prob + log_probs[static_cast<size_t>(id)];
    if (!std::isfinite(sum)) continue;
    if (id == kEnd) {
      all->push_back({tokens, sum, length + 1});
      continue;
    }
    Tokens longer = tokens;
    longer.push_back(id);
    if (length + 1 == limits.max) {
      all->push_back({longer, sum, length + 1});
    } else {
      enumerate(script, limits, longer, sum, all);
    }
  }
}

std::vector<Scored> best_of_all(const Script& script, LengthLimits limits, const LengthPenalty& penalty) {
  std::vector<Scored> all;
  enumerate(script, limits, {}, 0, &all);
  std::stable_sort(all.begin(), all.end(), [&](const Scored& a, const Scored& b) {
    return penalty.score(a.log_prob, a.length) > penalty.score(b.log_prob, b.length);
  });
  return all;
}

SearchOptions options_with(int64_t beam, double alpha = 1) {
  SearchOptions options;
  options.beam = beam;
  options.ends = {kEnd};
  options.length_penalty.alpha = alpha;
  return options;
}

TEST(SentenceSearch, AFullBeamFindsWhatEnumerationFinds) {
  for (uint32_t seed = 0; seed < 12; ++seed) {
    for (const double alpha : {0.5, 1.0, 1.7}) {
      for (const LengthLimits limits : {LengthLimits{1, 3}, LengthLimits{0, 3}, LengthLimits{2, 4}}) {
        SearchOptions options = options_with(81, alpha);  // 3^4 paths at most
        options.patience = 100;                           // nothing stops before the length limit
        const Script script = random_model(seed);
        const auto want = best_of_all(script, limits, options.length_penalty);
        const auto got = run_search(options, limits, {}, kVocabulary, script, 10);
        ASSERT_EQ(got.size(), 10u);
        for (size_t i = 0; i < got.size(); ++i) {
          EXPECT_EQ(got[i].tokens, want[i].tokens) << "seed " << seed << ", hypothesis " << i;
          EXPECT_NEAR(got[i].log_prob, want[i].log_prob, 1e-5);
          EXPECT_NEAR(got[i].score, options.length_penalty.score(want[i].log_prob, want[i].length), 1e-5);
        }
      }
    }
  }
}

TEST(SentenceSearch, WithoutLengthPenaltyAFullBeamStopsEarlyWithTheBest) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    const LengthLimits limits{1, 4};
    const Script script = random_model(seed);
    const auto got = run_search(options_with(81, 0), limits, {}, kVocabulary, script, 1);
    EXPECT_EQ(got[0].tokens, best_of_all(script, limits, {.alpha = 0})[0].tokens) << seed;
  }
}

// A beam search as a textbook has it, on whole sequences.
std::vector<Scored> textbook_beam(const Script& script, LengthLimits limits, int64_t beam, int64_t wanted) {
  std::vector<Scored> alive{{{}, 0, 0}}, done;
  for (int64_t t = 0; t < limits.max; ++t) {
    std::vector<Scored> next;
    for (const Scored& path : alive) {
      const auto log_probs = log_softmax(script(path.tokens), t >= limits.min);
      for (int32_t id = 0; id < static_cast<int32_t>(log_probs.size()); ++id) {
        if (!std::isfinite(log_probs[static_cast<size_t>(id)])) continue;
        Scored longer{path.tokens, path.log_prob + log_probs[static_cast<size_t>(id)], t + 1};
        longer.tokens.push_back(id);
        next.push_back(std::move(longer));
      }
    }
    std::stable_sort(next.begin(), next.end(),
                     [](const Scored& a, const Scored& b) { return a.log_prob > b.log_prob; });
    alive.clear();
    for (size_t i = 0; i < next.size(); ++i) {
      const bool ends = next[i].tokens.back() == kEnd;
      const bool in_beam = static_cast<int64_t>(i) < beam;
      if (in_beam && (ends || t + 1 == limits.max)) {
        done.push_back(next[i]);
        if (ends) done.back().tokens.pop_back();
      }
      if (!ends && static_cast<int64_t>(alive.size()) < beam) alive.push_back(next[i]);
    }
    if (static_cast<int64_t>(done.size()) >= wanted) break;
  }
  return done;
}

TEST(SentenceSearch, ASmallBeamIsTheTextbooks) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    for (const int64_t beam : {1, 2, 3, 5}) {
      for (const double patience : {1.0, 2.0}) {
        SearchOptions options = options_with(beam);
        options.patience = patience;
        const LengthLimits limits{1, 7};
        const Script script = random_model(seed, 6);
        auto want = textbook_beam(script, limits, beam, options.max_ended());
        std::stable_sort(want.begin(), want.end(), [](const Scored& a, const Scored& b) {
          return a.log_prob / static_cast<double>(a.length) > b.log_prob / static_cast<double>(b.length);
        });
        const auto got = run_search(options, limits, {}, 6, script, 1000);
        ASSERT_EQ(got.size(), want.size()) << "seed " << seed << ", beam " << beam;
        for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].tokens, want[i].tokens);
      }
    }
  }
}

TEST(SentenceSearch, GreedyTakesTheBestTokenEachTime) {
  const Script script = random_model(7);
  Tokens want;
  for (int64_t t = 0; t < 6; ++t) {
    const auto log_probs = log_softmax(script(want), t >= 1);
    const auto best =
        static_cast<int32_t>(std::max_element(log_probs.begin(), log_probs.end()) - log_probs.begin());
    if (best == kEnd) break;
    want.push_back(best);
  }
  EXPECT_EQ(run_search(options_with(1), {1, 6}, {}, kVocabulary, script, 1)[0].tokens, want);
}

TEST(SentenceSearch, TokenLogProbsAddUpAndIncludeTheEnd) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    for (const Hypothesis& h : run_search(options_with(3), {1, 6}, {}, kVocabulary, random_model(seed), 3)) {
      EXPECT_EQ(h.token_log_probs.size(), h.tokens.size() + (h.ended ? 1 : 0));
      double sum = 0;
      for (const float each : h.token_log_probs) sum += each;
      EXPECT_NEAR(sum, h.log_prob, 1e-5);
    }
  }
}

TEST(SentenceSearch, APrefixStandsAndCostsNothing) {
  const Tokens prefix{3, 1};
  for (const Hypothesis& h : run_search(options_with(3), {1, 6}, prefix, kVocabulary, random_model(2), 3)) {
    ASSERT_GE(h.tokens.size(), 2u);
    EXPECT_EQ(Tokens(h.tokens.begin(), h.tokens.begin() + 2), prefix);
    EXPECT_EQ(h.token_log_probs[0], 0);
    EXPECT_EQ(h.token_log_probs[1], 0);
  }
}

TEST(SentenceSearch, AnEndTokenInsideAPrefixDoesNotEnd) {
  const auto got = run_search(options_with(2), {1, 6}, {3, kEnd, 1}, kVocabulary, random_model(4), 1);
  EXPECT_EQ(got[0].tokens[1], kEnd);
  EXPECT_GE(got[0].tokens.size(), 3u);
}

TEST(SentenceSearch, APrefixBeyondTheLimitIsCut) {
  const auto got = run_search(options_with(2), {1, 2}, {3, 1, 2}, kVocabulary, random_model(4), 1);
  EXPECT_THAT(got[0].tokens, ElementsAre(3, 1));
  EXPECT_FALSE(got[0].ended);
}

// The model likes to end from the start, and 1 best of all else.
std::vector<float> eager(const Tokens&) { return {5, 3, 1, 0}; }

TEST(SentenceSearch, AfterAPrefixTheEndMustBeTheBestCandidate) {
  const Script second = [](const Tokens& tokens) {
    return tokens.size() == 1 ? std::vector<float>{4, 5, 1, 0} : std::vector<float>{9, 0, 0, 0};
  };
  SearchOptions options = options_with(2, 0);
  options.n_best = 2;
  for (const Hypothesis& h : run_search(options, {1, 5}, {3}, kVocabulary, second, 2)) {
    EXPECT_GT(h.tokens.size(), 1u);
  }
  EXPECT_THAT(run_search(options_with(2), {1, 5}, {3}, kVocabulary, eager, 1)[0].tokens, ElementsAre(3));
}

TEST(SentenceSearch, LengthsStayWithinTheLimits) {
  for (const int64_t beam : {1, 4}) {
    EXPECT_EQ(run_search(options_with(beam), {4, 9}, {}, kVocabulary, eager, 1)[0].tokens.size(), 4u);
    const Script never = [](const Tokens&) { return std::vector<float>{-9, 3, 1, 0}; };
    const auto got = run_search(options_with(beam), {1, 2}, {}, kVocabulary, never, 1);
    EXPECT_EQ(got[0].tokens.size(), 2u);
    EXPECT_FALSE(got[0].ended);
  }
}

TEST(SentenceSearch, AnyEndTokenEndsAndIsTakenOff) {
  SearchOptions options = options_with(2);
  options.ends = {kEnd, 2};
  const Script likes_two = [](const Tokens& tokens) {
    return tokens.empty() ? std::vector<float>{0, 5, 1, 0} : std::vector<float>{1, 0, 5, 0};
  };
  const auto got = run_search(options, {1, 6}, {}, kVocabulary, likes_two, 5);
  EXPECT_THAT(got[0].tokens, ElementsAre(1));
  for (size_t i = 1; i < got.size(); ++i) EXPECT_NE(got[i].tokens, got[0].tokens);
}

TEST(SentenceSearch, PatienceCollectsMoreHypotheses) {
  SearchOptions options = options_with(4);
  options.patience = 2;
  options.n_best = 8;
  options.validate(9);
  EXPECT_EQ(run_search(options, {1, 12}, {}, 9, random_model(3, 9), 8).size(), 8u);
}

TEST(SentenceSearch, ABeamWiderThanTheVocabularyWorks) {
  SearchOptions options = options_with(11);
  options.n_best = 11;
  const auto got = run_search(options, {1, 8}, {}, kVocabulary, random_model(3), 11);
  EXPECT_EQ(got.size(), 11u);
  EXPECT_TRUE(std::is_sorted(got.begin(), got.end(),
                             [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; }));
}

TEST(SentenceSearch, ALoopIsCutAfterItsFirstRound) {
  const Script loop = [](const Tokens& tokens) {
    const int32_t next = tokens.empty() ? 3 : tokens.back() == 1 ? 2 : 1;
    std::vector<float> logits{-8, 0, 0, 0};
    logits[static_cast<size_t>(next)] = 8;
    return logits;
  };
  SearchOptions options = options_with(1);
  EXPECT_EQ(run_search(options, {1, 40}, {}, kVocabulary, loop, 1)[0].tokens.size(), 40u);
  options.loop_ngram = 3;
  options.loop_times = 4;
  EXPECT_THAT(run_search(options, {1, 40}, {}, kVocabulary, loop, 1)[0].tokens, ElementsAre(3, 1, 2));
}

TEST(SentenceSearch, WhereNothingMayFollowTheHypothesisStands) {
  SearchOptions options = options_with(1);
  options.no_repeat_ngram = 1;
  const Script script = [](const Tokens&) { return std::vector<float>{0, 3, 2, 1}; };
  const auto got = run_search(options, {9, 9}, {}, kVocabulary, script, 1);
  EXPECT_THAT(got[0].tokens, ElementsAre(1, 2, 3));
}

TEST(SentenceSearch, AModelThatGivesNaNIsNamed) {
  const Script nan = [](const Tokens& tokens) {
    const float bad = tokens.size() == 2 ? std::numeric_limits<float>::quiet_NaN() : 0;
    return std::vector<float>{-9, 1, bad, 0};
  };
  try {
    run_search(options_with(2), {1, 6}, {}, kVocabulary, nan, 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("the model gave no number for any token at position 2"));
  }
}

}  // namespace
}  // namespace floe
