// Who each row is when a step begins, and what it leaves for the next.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "ops/search/search_cases_for_test.h"
#include "testing/op_case.h"

namespace floe {
namespace {

using testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<double> list(const Tensor& t) {
  std::vector<double> out;
  for (int64_t i = 0; i < t.size(); ++i) out.push_back(t.at(i));
  return out;
}

// Two sentences of two places: the first with a limit of 5 and the prefix 7 8, the second with a limit of 3.
OpCase turn_case(std::vector<int32_t> clock, int32_t epoch, std::vector<int32_t> start_positions,
                 std::vector<float> kept_scores = {-1, -2, -3, -4, 0}) {
  return {"search_turn",
          {ints({2}, clock), ints({}, {epoch}), ints({5}, {1, 0, 3, 3, 9}), ints({5}, {11, 12, 13, 14, 15}),
           floats({5}, kept_scores), ints({4}, {4, 5, 6, 7}), ints({4}, {21, 22, 23, 24}),
           floats({4}, {-0.5f, -kInf, -0.25f, -0.75f}), ints({2}, start_positions), ints({2}, {100, 200}),
           ints({2}, {5, 3}), ints({2, 2}, {7, 8, -1, -1}), ints({2}, {2, 0})},
          {{"beam", int64_t{2}}}};
}

std::vector<Tensor> checked(const OpCase& c) {
  check_kernel(c);
  return run_kernel(c);
}

TEST(SearchTurn, ANewEpochBeginsWithWhatIsGiven) {
  const auto out = checked(turn_case({3, 9}, 4, {0, 1}));
  EXPECT_THAT(list(out[0]), ElementsAre(4, 0));
  EXPECT_THAT(list(out[1]), ElementsAre(4, 0, 6, 7));  // the second place is not alive
  EXPECT_THAT(list(out[2]), ElementsAre(21, 0, 23, 24));
  EXPECT_THAT(list(out[3]), ElementsAre(-0.5, -kInf, -0.25, -0.75));
  EXPECT_THAT(list(out[4]), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(list(out[5]), ElementsAre(1, 0, 2, 2));
  EXPECT_THAT(list(out[6]), ElementsAre(100, -1, 201, 204));
  EXPECT_THAT(list(out[7]), ElementsAre(-1, -1, 0, 0));
  EXPECT_THAT(list(out[8]), ElementsAre(7, -1));
  EXPECT_THAT(list(out[9]), ElementsAre(0, 2));
}

TEST(SearchTurn, LaterStepsGoOnFromWhatWasKept) {
  const auto out = checked(turn_case({4, 0}, 4, {1, 0}));
  EXPECT_THAT(list(out[0]), ElementsAre(4, 1));
  EXPECT_THAT(list(out[1]), ElementsAre(1, 0, 3, 3));
  EXPECT_THAT(list(out[2]), ElementsAre(11, 12, 13, 14));
  EXPECT_THAT(list(out[3]), ElementsAre(-1, -2, -3, -4));
  EXPECT_THAT(list(out[4]), ElementsAre(2, 2, 1, 1));
  EXPECT_THAT(list(out[6]), ElementsAre(102, 107, 201, 204));
  EXPECT_THAT(list(out[8]), ElementsAre(-1, -1));
  EXPECT_THAT(list(out[9]), ElementsAre(1, 2));  // the first step after a prefix
}

TEST(SearchTurn, ASentenceAtItsLimitIsNotAlive) {
  const auto out = checked(turn_case({4, 2}, 4, {1, 0}));
  EXPECT_THAT(list(out[5]), ElementsAre(5, 5, 0, 0));
  EXPECT_THAT(list(out[3]), ElementsAre(-1, -2, -kInf, -kInf));
  EXPECT_THAT(list(out[6]), ElementsAre(104, 109, -1, -1));
}

TEST(SearchTurn, ARowWithoutScoreIsNotAliveAndNaNIs) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto out = checked(turn_case({4, 0}, 4, {0, 0}, {-kInf, nan, 1, 2, 3}));
  EXPECT_THAT(list(out[5]), ElementsAre(0, 2, 2, 2));
  EXPECT_THAT(list(out[6]), ElementsAre(-1, 106, 201, 204));
}

TEST(SearchTurn, MatchesTheReferenceForManyRows) {
  for (const int64_t sentences : {0, 1, 700}) {
    for (const int64_t beam : {1, 3}) {
      const int64_t rows = sentences * beam;
      for (const int32_t epoch : {5, 6}) {
        check_kernel({"search_turn",
                      {ints({2}, {5, 3}), ints({}, {epoch}), CaseInput::integers({rows + 3}, 0, 99),
                       CaseInput::integers({rows + 3}, 0, 99), CaseInput::normal({rows + 3}),
                       CaseInput::integers({rows}, 0, 99), CaseInput::integers({rows}, 0, 99),
                       CaseInput::normal({rows}), CaseInput::integers({sentences}, 0, 9),
                       CaseInput::integers({sentences}, 0, 999), CaseInput::integers({sentences}, 0, 12),
                       CaseInput::integers({sentences, 4}, 0, 99), CaseInput::integers({sentences}, 0, 6)},
                      {{"beam", beam}}});
      }
    }
  }
}

OpCase keep_case(int64_t lines, int64_t rows) {
  return {"search_keep",
          {CaseInput::integers({lines}, 0, 99), CaseInput::integers({lines}, 0, 99),
           CaseInput::normal({lines}), CaseInput::integers({rows}, 100, 199),
           CaseInput::integers({rows}, 100, 199), CaseInput::normal({rows})},
          {}};
}

TEST(SearchKeep, ReplacesTheFirstLines) {
  const auto out = checked({"search_keep",
                            {ints({3}, {1, 2, 3}), ints({3}, {4, 5, 6}), floats({3}, {7, 8, 9}),
                             ints({2}, {10, 20}), ints({2}, {40, 50}), floats({2}, {70, -kInf})},
                            {}});
  EXPECT_THAT(list(out[0]), ElementsAre(10, 20, 3));
  EXPECT_THAT(list(out[1]), ElementsAre(40, 50, 6));
  EXPECT_THAT(list(out[2]), ElementsAre(70, -kInf, 9));
}

TEST(SearchKeep, MatchesTheReferenceForManyRows) {
  for (const int64_t lines : {0, 1, 255, 256, 257, 70001}) {
    check_kernel(keep_case(lines, lines));
    check_kernel(keep_case(lines, lines / 2));
    check_kernel(keep_case(lines, 0));
  }
}

TEST(SearchKeep, RefusesMoreRowsThanThereAreLines) {
  FLOE_NEEDS_CPU();
  try {
    run_kernel(keep_case(2, 3));
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("3 rows do not fit a state of 2"));
  }
}

}  // namespace
}  // namespace floe
