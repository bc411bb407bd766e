#include "eval/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace floe {
namespace {

template <class Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "not refused";
}

const Lines kHypotheses{"the cat sat on the mat .", "a dog barks"};
const std::vector<Lines> kReferences{{"the cat sat on a mat .", "the dog barks loudly"}};

TEST(Bleu, IsTheFormulaWorkedByHand) {
  // Unigrams 6 + 2 of 10, bigrams 4 + 1 of 8, trigrams 2 of 6, fourgrams 1 of 4; lengths 10 and 11.
  const BleuScore score = bleu(kHypotheses, kReferences);
  EXPECT_THAT(score.precisions, testing::ElementsAre(80.0, 62.5, 100.0 * 2 / 6, 25.0));
  EXPECT_EQ(score.hypothesis_length, 10);
  EXPECT_EQ(score.reference_length, 11);
  EXPECT_DOUBLE_EQ(score.brevity_penalty, std::exp(1 - 11.0 / 10));
  const double mean = std::pow(0.8 * 0.625 * (2.0 / 6) * 0.25, 0.25);
  EXPECT_NEAR(score.score, 100 * std::exp(-0.1) * mean, 1e-12);
}

TEST(Bleu, RefusesASmoothingValueThatMeansNothing) {
  const auto with = [](Smoothing smoothing, double value) {
    return refusal(
        [&] { bleu(kHypotheses, kReferences, {.smoothing = smoothing, .smoothing_value = value}); });
  };
  EXPECT_EQ(with(Smoothing::exp, 0.5), "BLEU smoothing \"exp\" takes no value, but 0.5 was given");
  EXPECT_EQ(with(Smoothing::none, 1), "BLEU smoothing \"none\" takes no value, but 1 was given");
  EXPECT_EQ(with(Smoothing::add_k, -1), "BLEU smoothing \"add-k\" needs a value of 0 or more, not -1");
  EXPECT_EQ(with(Smoothing::floor, std::numeric_limits<double>::quiet_NaN()),
            "BLEU smoothing \"floor\" needs a value of 0 or more, not nan");
}

TEST(Bleu, RefusesAnUnknownSmoothing) {
  EXPECT_EQ(refusal([] { smoothing_from_name("linear"); }),
            "no BLEU smoothing is called \"linear\"; there are exp, floor, add-k, none");
}

TEST(Chrf, RefusesOptionsThatCountNothing) {
  const auto with = [](const ChrfOptions& options) {
    return refusal([&] { chrf(kHypotheses, kReferences, options); });
  };
  EXPECT_EQ(with({.char_order = 0}), "chrF needs n-grams to count: char order is 0, word order 0");
  EXPECT_EQ(with({.word_order = -1}), "chrF needs n-grams to count: char order is 6, word order -1");
  EXPECT_EQ(with({.beta = 0}), "chrF needs a beta of 1 or more, not 0");
}

TEST(Evaluate, RefusesUnequalLineCountsWithBothCounts) {
  EXPECT_EQ(refusal([] { evaluate(kHypotheses, {kReferences[0], {"one line"}}); }),
            "2 hypotheses but 1 lines in reference 2: line i must translate line i");
}

TEST(Evaluate, RefusesEmptyInput) {
  EXPECT_EQ(refusal([] { evaluate({}, {{}}); }), "nothing to evaluate: there are no hypotheses");
  EXPECT_EQ(refusal([] { evaluate(kHypotheses, {}); }),
            "nothing to evaluate against: there are no references");
}

TEST(Evaluate, RefusesBytesThatAreNotUtf8AndSaysWhere) {
  EXPECT_EQ(refusal([] { evaluate({"ok", "caf\xe9"}, kReferences); }),
            "hypotheses: line 2 is not UTF-8 at byte 4");
  EXPECT_EQ(refusal([] { evaluate(kHypotheses, {{"\xff", "ok"}}); }),
            "reference 1: line 1 is not UTF-8 at byte 1");
}

TEST(Evaluate, PrintsAllThreeMetricsWithSignatures) {
  const auto lines = evaluate(kHypotheses, kReferences, {.letters = Case::lower}).lines(1);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], testing::MatchesRegex("BLEU.nrefs:1.case:lc.eff:no.tok:13a.smooth:exp.version:floe-"
                                              "[0-9.]+ = 40.9 80.0/62.5/33.3/25.0 .BP = 0.905 ratio = 0.909 "
                                              "hyp_len = 10 ref_len = 11."));
  EXPECT_THAT(lines[1],
              testing::MatchesRegex("chrF2.nrefs:1.case:lc.eff:yes.nc:6.nw:0.space:no.version:floe-[0-9.]+ "
                                    "= [0-9]+.[0-9]"));
  EXPECT_THAT(lines[2], testing::StartsWith("chrF2++|nrefs:1|case:lc|eff:yes|nc:6|nw:2|"));
}

TEST(Evaluate, GivesEachMetricTheOptionsMeantForIt) {
  const EvaluationOptions options{.tokenizer = BleuTokenizer::character,
                                  .letters = Case::lower,
                                  .smoothing = Smoothing::floor,
                                  .smoothing_value = 0.2,
                                  .effective_order = true,
                                  .chrf_whitespace = Whitespace::kept,
                                  .chrf_smoothing = ChrfSmoothing::epsilon};
  const EvaluationReport result = evaluate({"The Cat", "x"}, {{"the cat", "y"}}, options);
  EXPECT_EQ(
      result.bleu.score,
      bleu({"the cat", "x"}, {{"the cat", "y"}},
           {.tokenizer = BleuTokenizer::character, .smoothing = Smoothing::floor, .smoothing_value = 0.2})
          .score);
  EXPECT_THAT(result.bleu_signature,
              testing::StartsWith("nrefs:1|case:lc|eff:yes|tok:char|smooth:floor[0.20]|"));
  EXPECT_THAT(result.chrf_signature, testing::StartsWith("nrefs:1|case:lc|eff:no|nc:6|nw:0|space:yes|"));
  EXPECT_EQ(result.chrf_plus_plus.score,
            chrf({"the cat", "x"}, {{"the cat", "y"}},
                 {.word_order = 2, .whitespace = Whitespace::kept, .smoothing = ChrfSmoothing::epsilon})
                .score);
}

TEST(Evaluate, NamesEveryFieldOnce) {
  const EvaluationReport result = evaluate(kHypotheses, kReferences);
  std::vector<std::string> names;
  for (const Field& field : result.fields()) {
    EXPECT_THAT(names, testing::Not(testing::Contains(field.name)));
    names.push_back(field.name);
    if (field.name == "bleu") {
      EXPECT_EQ(std::get<double>(field.value), result.bleu.score);
    }
    if (field.name == "bleu_line") {
      EXPECT_EQ(std::get<std::string>(field.value), result.bleu.line());
    }
    if (field.name == "segments") {
      EXPECT_EQ(std::get<int64_t>(field.value), 2);
    }
  }
  EXPECT_THAT(names, testing::IsSupersetOf({"segments", "bleu", "bleu_precision_4", "bleu_line",
                                            "bleu_signature", "chrf", "chrf_plus_plus"}));
}

// A score that is a mean: its bootstrap has a known deviation.
double mean_score(std::span<const int64_t> sums) {
  return static_cast<double>(sums[0]) / static_cast<double>(sums[1]);
}

SegmentStats alternating(int64_t low, int64_t high, int rows) {
  SegmentStats stats{.width = 2};
  for (int i = 0; i < rows; ++i) stats.add_row(std::vector<int64_t>{i % 2 == 0 ? low : high, 1});
  return stats;
}

TEST(Bootstrap, FindsTheIntervalOfAMean) {
  // 400 rows of 0 or 10: the mean is 5, its deviation 5 / sqrt(400) = 0.25, 1.96 of them to either side. The
  // mean of 1000 resamples lies within 5 * 0.25 / sqrt(1000) of 5; an end of the interval, a 2.5% quantile,
  // within 5 * 2.7 * 0.25 / sqrt(1000) of its place, and on a grid of 10 / 400.
  const Interval interval = bootstrap(alternating(0, 10, 400), mean_score);
  EXPECT_NEAR(interval.mean, 5, 5 * 0.25 / std::sqrt(1000));
  EXPECT_NEAR(interval.low, 5 - 1.96 * 0.25, 5 * 2.7 * 0.25 / std::sqrt(1000) + 10.0 / 400);
  EXPECT_NEAR(interval.high, 5 + 1.96 * 0.25, 5 * 2.7 * 0.25 / std::sqrt(1000) + 10.0 / 400);
}

TEST(Bootstrap, RepeatsItselfForASeedAndChangesWithIt) {
  const SegmentStats stats = alternating(0, 10, 401);
  const Interval first = bootstrap(stats, mean_score);
  EXPECT_EQ(first.mean, bootstrap(stats, mean_score).mean);
  EXPECT_NE(first.mean, bootstrap(stats, mean_score, {.seed = 1}).mean);
}

TEST(Bootstrap, RefusesNoSamples) {
  EXPECT_EQ(refusal([] { bootstrap(alternating(0, 1, 2), mean_score, {.samples = 0}); }),
            "bootstrap resampling needs at least 1 sample, not 0");
}

TEST(PairedBootstrap, FindsNoDifferenceBetweenEqualSystems) {
  const SegmentStats stats = alternating(0, 10, 100);
  const PairedResult result = paired_bootstrap(stats, stats, mean_score);
  EXPECT_EQ(result.p_value, 1.0);
  EXPECT_EQ(result.baseline.mean, result.system.mean);
}

TEST(PairedBootstrap, IsSureOfADifferenceInEverySegment) {
  // The same rows are drawn for both, so the difference is 1 in every resample and its spread 0.
  const PairedResult result =
      paired_bootstrap(alternating(0, 10, 100), alternating(1, 11, 100), mean_score, {.samples = 999});
  EXPECT_EQ(result.p_value, 1.0 / 1000);
  EXPECT_NEAR(result.system.mean - result.baseline.mean, 1, 1e-9);
}

TEST(Compare, PrintsBothSystemsAndTheirPValue) {
  const Comparison result = compare(kHypotheses, kHypotheses, kReferences, {}, {.samples = 50, .seed = 3});
  EXPECT_THAT(result.lines(),
              testing::ElementsAre(testing::MatchesRegex("BLEU: 40.88 .[0-9.]+ ± [0-9.]+., 40.88 .[0-9.]+ ± "
                                                         "[0-9.]+., p = 1.0000"),
                                   testing::StartsWith("chrF2: "), testing::StartsWith("chrF2++: ")));
}

TEST(Compare, RefusesASystemOfAnotherLength) {
  EXPECT_EQ(refusal([] { compare(kHypotheses, {"one"}, kReferences); }),
            "1 hypotheses but 2 lines in reference 1: line i must translate line i");
}

}  // namespace
}  // namespace floe
