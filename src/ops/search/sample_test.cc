#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "testing/op_case.h"

namespace floe {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Every row has the same logits; row r is draw r of sentence `ordinal`.
struct Draws {
  std::vector<float> logits;
  int32_t rows = 1;
  float temperature = 1;
  int32_t top_k = 0;
  float top_p = 1;
  int32_t seed = 3;
  int32_t ordinal = 0;
  int32_t position = 0;
  int32_t first_draw = 0;

  OpCase op_case() const {
    const auto n = static_cast<size_t>(rows);
    std::vector<float> all;
    std::vector<int32_t> draws;
    for (int32_t r = 0; r < rows; ++r) {
      all.insert(all.end(), logits.begin(), logits.end());
      draws.push_back(first_draw + r);
    }
    const auto f = [&](float value) {
      return CaseInput::of(Tensor::from_floats({rows}, std::vector<float>(n, value)));
    };
    const auto i = [&](int32_t value) {
      return CaseInput::of(Tensor::from_ints({rows}, std::vector<int32_t>(n, value)));
    };
    return {"sample",
            {CaseInput::of(Tensor::from_floats({rows, static_cast<int64_t>(logits.size())}, all)), f(-1),
             f(temperature), i(top_k), f(top_p), i(seed), i(ordinal),
             CaseInput::of(Tensor::from_ints({rows}, draws)), i(position)},
            {{"op_id", int64_t{11}}}};
  }
  std::vector<int> counts() const {
    const auto out = run_kernel(op_case());
    std::vector<int> counts(logits.size());
    for (int64_t r = 0; r < rows; ++r) ++counts[static_cast<size_t>(out[1].as<int32_t>()[r])];
    return counts;
  }
};

const std::vector<float> kFive{std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.25f),
                               std::log(0.05f)};

TEST(Sample, DrawsWithTheModelsProbabilities) {
  constexpr int kRows = 20000;
  const auto counts = Draws{.logits = kFive, .rows = kRows}.counts();
  for (size_t id = 0; id < kFive.size(); ++id) {
    const double p = std::exp(kFive[id]);
    EXPECT_NEAR(counts[id], p * kRows, 5 * std::sqrt(p * (1 - p) * kRows)) << id;
  }
}

TEST(Sample, TemperatureSharpens) {
  constexpr int kRows = 20000;
  const auto counts = Draws{.logits = kFive, .rows = kRows, .temperature = 0.5}.counts();
  const double p = 0.16 / (0.01 + 0.16 + 0.04 + 0.0625 + 0.0025);
  EXPECT_NEAR(counts[1], p * kRows, 5 * std::sqrt(p * (1 - p) * kRows));
}

TEST(Sample, TemperatureZeroAndTopOneTakeTheMostProbable) {
  EXPECT_EQ((Draws{.logits = kFive, .rows = 50, .temperature = 0}.counts()[1]), 50);
  EXPECT_EQ((Draws{.logits = kFive, .rows = 50, .top_k = 1}.counts()[1]), 50);
}

TEST(Sample, TopKKeepsTheMostProbable) {
  const auto counts = Draws{.logits = kFive, .rows = 2000, .top_k = 2}.counts();
  EXPECT_EQ(counts[1] + counts[3], 2000);
  EXPECT_NEAR(counts[1], 2000 * 0.4 / 0.65, 5 * std::sqrt(2000 * 0.24));
}

TEST(Sample, TopPKeepsTheFewestThatReachIt) {
  const auto counts = Draws{.logits = kFive, .rows = 2000, .top_p = 0.6f}.counts();
  EXPECT_EQ(counts[1] + counts[3], 2000);
  EXPECT_EQ((Draws{.logits = kFive, .rows = 200, .top_p = 0.01f}.counts()[1]), 200);
}

TEST(Sample, ForbiddenTokensAreNeverDrawn) {
  const auto counts = Draws{.logits = {0, -kInf, 0}, .rows = 500}.counts();
  EXPECT_EQ(counts[1], 0);
}

TEST(Sample, ARowWithoutATokenGivesNone) {
  const auto out = run_kernel(Draws{.logits = {-kInf, -kInf}}.op_case());
  EXPECT_EQ(out[1].at(0), -1);
  EXPECT_EQ(out[0].at(0), -kInf);
  const auto nan = run_kernel(Draws{.logits = {0, kNaN}}.op_case());
  EXPECT_EQ(nan[1].at(0), -1);
  EXPECT_TRUE(std::isnan(nan[0].at(0)));
  check_kernel(Draws{.logits = {0, kInf}}.op_case());
}

TEST(Sample, MatchesTheReferenceOnMixedRows) {
  for (const int64_t vocabulary : {1, 2, 67, 500}) {
    for (uint64_t seed = 1; seed < 6; ++seed) {
      OpCase c{"sample",
               {CaseInput::normal({23, vocabulary}), CaseInput::uniform({23}, -3, 0),
                CaseInput::uniform({23}, 0.1, 2), CaseInput::integers({23}, 0, 90),
                CaseInput::uniform({23}, 0.2, 1.3), CaseInput::integers({23}, -5, 5),
                CaseInput::integers({23}, 0, 1000), CaseInput::integers({23}, 0, 4),
                CaseInput::integers({23}, 0, 50)},
               {{"op_id", int64_t{4}}}};
      c.seed = seed;
      check_kernel(c);
    }
  }
  check_kernel(Draws{.logits = kFive, .rows = 0}.op_case());
}

TEST(Sample, ADrawDoesNotDependOnWhereItsRowLies) {
  const auto all = run_kernel(Draws{.logits = kFive, .rows = 40}.op_case());
  for (int32_t r = 0; r < 40; ++r) {
    const auto one = run_kernel(Draws{.logits = kFive, .rows = 1, .first_draw = r}.op_case());
    EXPECT_EQ(one[1].at(0), all[1].at(r)) << r;
    EXPECT_EQ(one[0].as<uint32_t>()[0], all[0].as<uint32_t>()[r]);
  }
}

TEST(Sample, SeedSentenceDrawAndPositionEachChangeTheDraws) {
  const auto tokens = [](const Draws& draws) {
    const auto out = run_kernel(draws.op_case());
    return std::vector<int32_t>(out[1].as<int32_t>(), out[1].as<int32_t>() + out[1].size());
  };
  const auto base = tokens({.logits = kFive, .rows = 64});
  EXPECT_EQ(base, tokens({.logits = kFive, .rows = 64}));
  EXPECT_NE(base, tokens({.logits = kFive, .rows = 64, .seed = 4}));
  EXPECT_NE(base, tokens({.logits = kFive, .rows = 64, .ordinal = 1}));
  EXPECT_NE(base, tokens({.logits = kFive, .rows = 64, .position = 1}));
  EXPECT_NE(base, tokens({.logits = kFive, .rows = 64, .first_draw = 64}));
}

}  // namespace
}  // namespace floe
