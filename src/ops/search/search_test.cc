#include "ops/search/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "device/cpu/thread_pool.h"
#include "ops/all.h"
#include "ops/search/search_cases_for_test.h"
#include "testing/op_case.h"

namespace floe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<double> list(const Tensor& t) {
  std::vector<double> values;
  for (int64_t i = 0; i < t.size(); ++i) values.push_back(t.at(i));
  return values;
}
bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && (a.bytes() == 0 || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
}

// ---- search_penalties

struct PenaltyCase {
  std::vector<float> logits{-2, -1, 0, 1, 2};
  std::vector<int32_t> history;
  float repetition = 1;
  int32_t ngram = 0;
  int32_t min_length = 0;
  std::vector<int32_t> ends{4};
  std::vector<int32_t> suppressed;
  int32_t forced = -1;

  OpCase op_case() const {
    std::vector<int32_t> padded = history;
    padded.resize(8, 3);  // what lies beyond the length must not matter
    return {"search_penalties",
            {floats({1, static_cast<int64_t>(logits.size())}, logits), ints({1, 8}, padded),
             ints({1}, {static_cast<int32_t>(history.size())}), floats({1}, {repetition}), ints({1}, {ngram}),
             ints({1}, {min_length}), ints({1, static_cast<int64_t>(ends.size())}, ends),
             ints({1, static_cast<int64_t>(suppressed.size())}, suppressed), ints({1}, {forced})},
            {{"beam", int64_t{1}}}};
  }
  std::vector<double> result() const {
    check_kernel(op_case());
    return list(run_kernel(op_case())[0]);
  }
};

TEST(SearchPenalties, NeutralOptionsChangeNothing) {
  EXPECT_THAT((PenaltyCase{.history = {1, 1, 4}}.result()), ElementsAre(-2, -1, 0, 1, 2));
}

TEST(SearchPenalties, RepetitionDividesPositiveAndMultipliesNegativeLogitsOnce) {
  EXPECT_THAT((PenaltyCase{.history = {0, 4, 4, 0, 2}, .repetition = 2}.result()),
              ElementsAre(-4, -1, 0, 1, 1));
}

TEST(SearchPenalties, ForbidsASecondNgram) {
  EXPECT_THAT((PenaltyCase{.history = {1, 2, 3, 1, 2}, .ngram = 3}.result()),
              ElementsAre(-2, -1, 0, -kInf, 2));
  EXPECT_THAT((PenaltyCase{.history = {1, 2, 1, 0, 1}, .ngram = 2}.result()),
              ElementsAre(-kInf, -1, -kInf, 1, 2));
  EXPECT_THAT((PenaltyCase{.history = {1}, .ngram = 1}.result()), ElementsAre(-2, -kInf, 0, 1, 2));
  EXPECT_THAT((PenaltyCase{.history = {1, 2}, .ngram = 3}.result()), ElementsAre(-2, -1, 0, 1, 2));
  EXPECT_THAT((PenaltyCase{.history = {}, .ngram = 4}.result()), ElementsAre(-2, -1, 0, 1, 2));
}

TEST(SearchPenalties, ForbidsEveryEndBeforeTheMinimumLength) {
  EXPECT_THAT((PenaltyCase{.history = {2}, .min_length = 2, .ends = {4, 0, -1}}.result()),
              ElementsAre(-kInf, -1, 0, 1, -kInf));
  EXPECT_THAT((PenaltyCase{.history = {2, 2}, .min_length = 2, .ends = {4, 0}}.result()),
              ElementsAre(-2, -1, 0, 1, 2));
}

TEST(SearchPenalties, ForbidsSuppressedIdsAndIgnoresPadding) {
  EXPECT_THAT((PenaltyCase{.suppressed = {3, -1, 1, 99}}.result()), ElementsAre(-2, -kInf, 0, -kInf, 2));
}

TEST(SearchPenalties, AForcedTokenStandsAloneEvenWhenItIsForbidden) {
  EXPECT_THAT((PenaltyCase{.min_length = 3, .ends = {2}, .suppressed = {2}, .forced = 2}.result()),
              ElementsAre(-kInf, -kInf, 0, -kInf, -kInf));
}

TEST(SearchPenalties, KeepsNaN) {
  const auto out = PenaltyCase{.logits = {kNaN, 1}, .history = {0}, .repetition = 3, .ends = {}}.result();
  EXPECT_TRUE(std::isnan(out[0]));
}

TEST(SearchPenalties, MatchesTheReferenceOnMixedBatches) {
  for (const int64_t beam : {1, 3}) {
    for (const int64_t sentences : {0, 1, 5}) {
      const int64_t rows = sentences * beam;
      check_kernel({"search_penalties",
                    {CaseInput::normal({rows, 11}), CaseInput::integers({rows + 2, 13}, 0, 11),
                     CaseInput::integers({rows}, 0, 14), CaseInput::uniform({sentences}, 0.5, 2),
                     CaseInput::integers({sentences}, 0, 4), CaseInput::integers({sentences}, 0, 14),
                     CaseInput::integers({sentences, 2}, -1, 11), CaseInput::integers({sentences, 3}, -1, 12),
                     CaseInput::integers({sentences}, -3, 11)},
                    {{"beam", beam}}});
    }
  }
}

// ---- beam_candidates

TEST(BeamCandidates, MatchTheReferenceOverManySizes) {
  for (const int64_t vocabulary : {1, 2, 15, 16, 17, 100, 1009}) {
    for (const int64_t beam : {1, 2, 4, 5}) {
      check_kernel(candidates_case(CaseInput::normal({3 * beam, vocabulary}),
                                   CaseInput::uniform({3 * beam}, -4, 0), beam, 2 * beam));
    }
  }
  check_kernel(candidates_case(CaseInput::normal({0, 9}), CaseInput::normal({0}), 2, 4));
}

TEST(BeamCandidates, HandleMoreRowsThanSixteenBits) {
  check_kernel(candidates_case(CaseInput::normal({70000, 5}), CaseInput::normal({70000}), 2, 3));
}

TEST(BeamCandidates, EqualOnesGoByPlaceThenId) {
  const auto out =
      run_kernel(candidates_case(floats({2, 4}, {0, 1, 1, 0, 1, 0, 0, 1}), floats({2}, {-1, -1}), 2, 6));
  EXPECT_THAT(list(out[1]), ElementsAre(1, 2, 0, 3, 0, 3));
  EXPECT_THAT(list(out[2]), ElementsAre(0, 0, 1, 1, 0, 0));
}

TEST(BeamCandidates, AddTheRowsScore) {
  const auto out = run_kernel(candidates_case(floats({2, 2}, {0, 0, 0, 0}), floats({2}, {-3, -1}), 2, 4));
  EXPECT_THAT(list(out[2]), ElementsAre(1, 1, 0, 0));
  EXPECT_NEAR(out[0].at(0), -1 - std::log(2.0), 1e-6);
  EXPECT_NEAR(out[0].at(3), -3 - std::log(2.0), 1e-6);
  EXPECT_NEAR(out[3].at(3), -std::log(2.0), 1e-6);
}

TEST(BeamCandidates, ARowWithoutScoreIsNotAlive) {
  const auto out =
      run_kernel(candidates_case(floats({2, 3}, {1, 2, 3, 9, 9, 9}), floats({2}, {0, -kInf}), 2, 4));
  EXPECT_THAT(list(out[1]), ElementsAre(2, 1, 0, -1));
  EXPECT_THAT(list(out[2]), ElementsAre(0, 0, 0, -1));
  EXPECT_EQ(out[0].at(3), -kInf);
}

TEST(BeamCandidates, ForbiddenTokensAreNoCandidates) {
  const auto out = run_kernel(
      candidates_case(floats({2, 3}, {-kInf, 5, -kInf, -kInf, -kInf, -kInf}), floats({2}, {0, 0}), 1, 2));
  EXPECT_THAT(list(out[1]), ElementsAre(1, -1, -1, -1));
  EXPECT_EQ(out[0].at(0), 0);  // a forced token costs nothing
  EXPECT_EQ(out[0].at(2), -kInf);
}

TEST(BeamCandidates, NaNIsNeverChosenOverANumberAndShowsWhereNumbersAreMissing) {
  const auto out =
      run_kernel(candidates_case(floats({2, 3}, {1, kNaN, 3, 1, 2, 3}), floats({2}, {0, -9}), 2, 4));
  EXPECT_THAT(list(out[1]), ElementsAre(2, 1, 0, -1));
  EXPECT_THAT(list(out[2]), ElementsAre(1, 1, 1, -1));
  EXPECT_TRUE(std::isnan(out[0].at(3)));
  check_kernel(candidates_case(floats({2, 3}, {1, kNaN, 3, 1, 2, kInf}), floats({2}, {0, 0}), 1, 2));
}

TEST(BeamCandidates, ASentencesBitsDoNotDependOnItsNeighbours) {
  expect_sentences_alone(203, {0, 1, 2, 3, 4, 5, 6});
}

// ---- beam_advance

std::vector<Tensor> advance(const std::vector<int32_t>& tokens, const std::vector<int32_t>& parents,
                            int32_t phase, int64_t beam, const std::vector<int32_t>& ends = {9}) {
  const auto width = static_cast<int64_t>(tokens.size());
  std::vector<float> values;
  for (int64_t j = 0; j < width; ++j) values.push_back(-static_cast<float>(j));
  const OpCase c{"beam_advance",
                 {floats({1, width}, values), ints({1, width}, tokens), ints({1, width}, parents),
                  ints({1, static_cast<int64_t>(ends.size())}, ends), ints({1}, {phase})},
                 {{"beam_in", beam}, {"beam", beam}}};
  check_kernel(c);
  return run_kernel(c);
}

TEST(BeamAdvance, KeepsTheBestWhenNothingEnds) {
  const auto out = advance({5, 6, 7, 8}, {1, 0, 1, 0}, 2, 2);
  EXPECT_THAT(list(out[0]), ElementsAre(1, 0));
  EXPECT_THAT(list(out[1]), ElementsAre(5, 6));
  EXPECT_THAT(list(out[2]), ElementsAre(0, -1));
  EXPECT_THAT(list(out[3]), ElementsAre(0, 1));
  EXPECT_THAT(list(out[4]), ElementsAre(-1, -1));
}

TEST(BeamAdvance, ALaterCandidateTakesThePlaceOfAnEndedOne) {
  const auto out = advance({9, 6, 9, 8}, {0, 0, 1, 1}, 2, 2);
  EXPECT_THAT(list(out[3]), ElementsAre(3, 1));
  EXPECT_THAT(list(out[4]), ElementsAre(0, -1));
  EXPECT_THAT(list(out[1]), ElementsAre(8, 6));
}

TEST(BeamAdvance, EndsBeyondTheBeamAreNoHypotheses) {
  EXPECT_THAT(list(advance({5, 6, 9, 9}, {0, 0, 0, 1}, 2, 2)[4]), ElementsAre(-1, -1));
}

TEST(BeamAdvance, AnyOfSeveralEndTokensEnds) {
  const auto out = advance({4, 9, 1, 2}, {0, 0, 0, 0}, 2, 2, {9, 4, -1});
  EXPECT_THAT(list(out[4]), ElementsAre(0, 1));
  EXPECT_THAT(list(out[3]), ElementsAre(2, 3));
}

TEST(BeamAdvance, APlaceWithoutCandidateIsNotAlive) {
  const auto out = advance({9, -1, -1, -1}, {0, -1, -1, -1}, 2, 2);
  EXPECT_THAT(list(out[2]), ElementsAre(-kInf, -kInf));
  EXPECT_THAT(list(out[1]), ElementsAre(0, 0));
  EXPECT_THAT(list(out[3]), ElementsAre(-1, -1));
  EXPECT_THAT(list(out[4]), ElementsAre(0, -1));
}

TEST(BeamAdvance, NothingEndsInsideAPrefix) {
  EXPECT_THAT(list(advance({9, -1, -1, -1}, {0, -1, -1, -1}, 0, 2)[1]), ElementsAre(9, 0));
}

TEST(BeamAdvance, AfterAPrefixOnlyTheBestCandidateMayEnd) {
  const auto second = advance({5, 9, 7, 8}, {0, 0, 0, 0}, 1, 2);
  EXPECT_THAT(list(second[4]), ElementsAre(-1, -1));
  EXPECT_THAT(list(second[3]), ElementsAre(0, 2));
  EXPECT_THAT(list(advance({9, 5, 7, 8}, {0, 0, 0, 0}, 1, 2)[4]), ElementsAre(0, -1));
}

TEST(BeamAdvance, MatchesTheReferenceOnRandomCandidates) {
  for (uint64_t seed = 1; seed < 20; ++seed) {
    for (const int64_t beam : {1, 2, 5}) {
      OpCase c{"beam_advance",
               {CaseInput::normal({9, 2 * beam}), CaseInput::integers({9, 2 * beam}, -1, 5),
                CaseInput::integers({9, 2 * beam}, 0, beam), CaseInput::integers({9, 2}, -1, 5),
                CaseInput::integers({9}, 0, 3)},
               {{"beam_in", beam}, {"beam", beam}}};
      c.seed = seed;
      check_kernel(c);
    }
  }
}

// ---- beam_rows

TEST(BeamRows, LinesFollowTheirParents) {
  const OpCase c{"beam_rows",
                 {ints({4, 3}, {0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32}), ints({3}, {1, 1, 0}),
                  ints({3}, {2, -1, 3}), ints({3}, {7, 8, 9})}};
  check_kernel(c);
  const auto out = run_kernel(c);
  EXPECT_THAT(list(out[1]), ElementsAre(10, 11, 7, 10, 11, 12, 0, 1, 2));
  EXPECT_THAT(list(out[0]), ElementsAre(10, 11, 7, 10, 11, 12, 0, 1, 2, 30, 31, 32));
}

TEST(BeamRows, WorkInPlace) {
  Tensor state = Tensor::from_ints({3, 2}, {0, 1, 10, 11, 20, 21});
  Tensor rows = Tensor::from_ints({3}, {2, 0, 0});
  Tensor positions = Tensor::from_ints({3}, {0, 1, 1});
  Tensor entries = Tensor::from_ints({3}, {5, 6, 7});
  Tensor current(DType::i32, {3, 2});
  const std::vector<View> in{view_of(state), view_of(rows), view_of(positions), view_of(entries)};
  const std::vector<View> out{view_of(state), view_of(current)};
  ThreadPool pool(1);
  const Attrs none;
  kernels_of(DeviceKind::cpu)
      .named(DeviceKind::cpu, "beam_rows.i32")
      .bind({none, in, out, 1})
      .run({in, out, nullptr, &pool});
  EXPECT_THAT(list(state), ElementsAre(5, 21, 0, 6, 0, 7));
  EXPECT_TRUE(same_bits(state, current));
}

TEST(BeamRows, RefuseARowThatIsNotThere) {
  FLOE_NEEDS_CPU();
  const OpCase c{"beam_rows", {ints({2, 1}, {0, 1}), ints({1}, {2}), ints({1}, {0}), ints({1}, {0})}};
  try {
    run_kernel(c);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("row 2 is outside 0..1"));
  }
}

// ---- refusals

TEST(Search, RefusesOptionsOfOtherSizes) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value logits = b.input("logits", {DType::f32, {Dim(6), Dim(5)}});
  const Value scores = b.input("scores", {DType::f32, {Dim(4)}});
  const auto message = [](const auto& build) -> std::string {
    try {
      build();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message([&] { beam_candidates(b, logits, scores, 2, 4); }),
              HasSubstr("[beam_candidates] scores is f32[4], its dim 0 must be 6"));
  EXPECT_THAT(message([&] { beam_candidates(b, logits, scores, 0, 4); }),
              HasSubstr("[beam_candidates] beam must be at least 1, got 0"));
  EXPECT_THAT(message([&] { beam_rows(b, logits, scores, scores, scores); }),
              HasSubstr("[beam_rows] state must be i32 of rank 2, got f32[6, 5]"));
}

}  // namespace
}  // namespace floe
