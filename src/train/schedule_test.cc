#include "train/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Schedule, EveryKindWarmsUpInAStraightLine) {
  for (const ScheduleKind kind :
       {ScheduleKind::constant, ScheduleKind::inverse_sqrt, ScheduleKind::cosine, ScheduleKind::linear}) {
    const ScheduleOptions options{.kind = kind, .rate = 2, .min_rate = 0.5, .warmup = 8, .total = 100};
    EXPECT_DOUBLE_EQ(learning_rate(options, 1), 0.25);
    EXPECT_DOUBLE_EQ(learning_rate(options, 4), 1);
    EXPECT_DOUBLE_EQ(learning_rate(options, 8), 2) << name_of(kind);
    for (int step = 9; step < 300; ++step) {
      EXPECT_LE(learning_rate(options, step), learning_rate(options, step - 1));
      EXPECT_GE(learning_rate(options, step), 0.5);
    }
  }
}

TEST(Schedule, FollowsItsFormulaAfterTheWarmUp) {
  ScheduleOptions options{.kind = ScheduleKind::inverse_sqrt, .rate = 3, .warmup = 4};
  for (const int64_t step : {1, 3, 4, 5, 16, 400}) {
    const auto s = static_cast<double>(step);
    EXPECT_DOUBLE_EQ(learning_rate(options, step), 3 * std::min(s / 4, std::sqrt(4 / s)));
  }
  options = {.kind = ScheduleKind::cosine, .rate = 1, .min_rate = 0.2, .warmup = 10, .total = 110};
  EXPECT_DOUBLE_EQ(learning_rate(options, 60), 0.6);
  EXPECT_DOUBLE_EQ(learning_rate(options, 35), 0.2 + 0.8 * (1 + std::sqrt(0.5)) / 2);
  EXPECT_DOUBLE_EQ(learning_rate(options, 110), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate(options, 5'000), 0.2);
  options.kind = ScheduleKind::linear;
  EXPECT_DOUBLE_EQ(learning_rate(options, 60), 0.6);
  EXPECT_DOUBLE_EQ(learning_rate(options, 85), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate(options, 5'000), 0.2);
}

TEST(Schedule, WithoutWarmUpTheFirstStepHasTheFullRate) {
  for (const ScheduleKind kind : {ScheduleKind::constant, ScheduleKind::inverse_sqrt}) {
    EXPECT_EQ(learning_rate({.kind = kind, .rate = 0.1}, 1), 0.1);
  }
  EXPECT_DOUBLE_EQ(learning_rate({.kind = ScheduleKind::inverse_sqrt, .rate = 0.1}, 100), 0.01);
}

TEST(Schedule, ADecayedRateStaysAboveTheLowest) {
  const ScheduleOptions options{.kind = ScheduleKind::constant, .rate = 1, .min_rate = 0.3};
  EXPECT_EQ(learning_rate(options, 1, 0.5), 0.5);
  EXPECT_EQ(learning_rate(options, 1, 0.25), 0.3);
}

TEST(Schedule, RefusesImpossibleNumbersByName) {
  const auto refused = [](const ScheduleOptions& options) {
    return refusal(ErrorKind::user, [&] { check(options); });
  };
  EXPECT_THAT(refused({.rate = 0}), HasSubstr("learning rate 0 is not"));
  EXPECT_THAT(refused({.rate = kNan}), HasSubstr("learning rate nan"));
  EXPECT_THAT(refused({.rate = 1, .min_rate = 2}), HasSubstr("lowest learning rate 2"));
  EXPECT_THAT(refused({.warmup = -1}), HasSubstr("warm-up of -1"));
  EXPECT_THAT(refused({.kind = ScheduleKind::cosine, .warmup = 10, .total = 10}),
              HasSubstr("a cosine schedule of 10 steps ends before its warm-up of 10"));
  check(ScheduleOptions{.kind = ScheduleKind::linear, .warmup = 10, .total = 11});
}

// What a run of validations does: the factor after each, with an epoch ending after every third.
std::vector<double> factors(const DecayOptions& decay, const std::vector<double>& losses) {
  const EarlyStopOptions stop{.metrics = {{.name = "loss"}}};
  EarlyStopState stop_state;
  DecayState state;
  std::vector<double> out;
  for (size_t i = 0; i < losses.size(); ++i) {
    const auto step = static_cast<int64_t>(i) + 1;
    const ValidationVerdict verdict =
        after_validation(stop, std::vector<double>{losses[i]}, step, &stop_state);
    decay_after_validation(decay, verdict.stalled, &state);
    if (step % 3 == 0) decay_after_epoch(decay, step / 3, &state);
    out.push_back(state.factor);
  }
  return out;
}

const std::vector<double> kLosses{5, 4, 4.5, 4.5, 3, 3, 3.5, 4, 4, 4, 2, 2.5};
// stalled after each:            0  0  1    2    0  1  2    3  4  5  0  1

TEST(Decay, NoStrategyNeverLowersTheRate) {
  EXPECT_EQ(factors({.strategy = DecayStrategy::none}, kLosses), std::vector<double>(12, 1.0));
}

TEST(Decay, EpochLowersAtEveryEpochsEndFromItsStart) {
  EXPECT_THAT(factors({.strategy = DecayStrategy::epoch, .start_epoch = 2}, kLosses),
              ElementsAre(1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125));
}

TEST(Decay, StalledLowersAtEveryMultipleOfItsPatience) {
  EXPECT_THAT(factors({.strategy = DecayStrategy::stalled, .start_stalled = 2}, kLosses),
              ElementsAre(1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.125, 0.125));
}

TEST(Decay, EpochAndStalledDoesBoth) {
  EXPECT_THAT(
      factors({.strategy = DecayStrategy::epoch_stalled, .start_epoch = 3, .start_stalled = 2}, kLosses),
      ElementsAre(1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.0625, 0.0625, 0.0625, 0.03125));
}

TEST(Decay, RefusesImpossibleNumbersByName) {
  const auto refused = [](const DecayOptions& options) {
    return refusal(ErrorKind::user, [&] { check(options); });
  };
  EXPECT_THAT(refused({.factor = 0}), HasSubstr("decay factor 0"));
  EXPECT_THAT(refused({.factor = 1.5}), HasSubstr("decay factor 1.5"));
  EXPECT_THAT(refused({.start_epoch = 0}), HasSubstr("epoch 0"));
  EXPECT_THAT(refused({.start_stalled = 0}), HasSubstr("after 0 stalled"));
}

// The step at which a run over these validations stops, or 0. Two metrics: a loss and a score.
int64_t stops(StopOn on, const std::vector<std::vector<double>>& validations, int64_t patience = 2) {
  const EarlyStopOptions options{
      .metrics = {{.name = "loss", .epsilon = 0.1}, {.name = "bleu", .higher_is_better = true}},
      .on = on,
      .patience = patience};
  EarlyStopState state;
  for (size_t i = 0; i < validations.size(); ++i) {
    const auto step = static_cast<int64_t>(i) + 1;
    if (after_validation(options, validations[i], step, &state).stop) return step;
  }
  return 0;
}

TEST(EarlyStop, FirstAllAndAnyLookAtDifferentMetrics) {
  // The loss stalls at 3 and 4, the score at 2 and 3, and again from 6 on; both stall at 6 and 7.
  const std::vector<std::vector<double>> validations{{5, 10}, {4, 9},  {4, 10}, {4, 12},
                                                     {3, 13}, {3, 13}, {3, 13}};
  EXPECT_EQ(stops(StopOn::first, validations), 4);
  EXPECT_EQ(stops(StopOn::any, validations), 3);
  EXPECT_EQ(stops(StopOn::all, validations), 7);
  EXPECT_EQ(stops(StopOn::any, validations, 0), 0) << "a patience of 0 never stops";
}

TEST(EarlyStop, AValueMustBeBetterByMoreThanEpsilon) {
  EXPECT_EQ(stops(StopOn::first, {{5, 1}, {4.95, 2}, {4.92, 3}}), 3);
  EXPECT_EQ(stops(StopOn::first, {{5, 1}, {4.95, 2}, {4.85, 3}, {4.8, 4}}), 0);
}

TEST(EarlyStop, RemembersTheBestValueItsStepAndWhichMetricImproved) {
  const EarlyStopOptions options{.metrics = {{.name = "loss"}, {.name = "bleu", .higher_is_better = true}}};
  EarlyStopState state;
  EXPECT_THAT(after_validation(options, std::vector<double>{5, 10}, 100, &state).improved,
              ElementsAre(true, true));
  EXPECT_THAT(after_validation(options, std::vector<double>{4, 10}, 200, &state).improved,
              ElementsAre(true, false));
  EXPECT_THAT(after_validation(options, std::vector<double>{4, 11}, 300, &state).improved,
              ElementsAre(false, true));
  EXPECT_EQ(state.metrics[0], (MetricState{true, 4, 200, 1}));
  EXPECT_EQ(state.metrics[1], (MetricState{true, 11, 300, 0}));
}

TEST(EarlyStop, NanIsNeverAnImprovementNotEvenAtFirst) {
  EXPECT_EQ(stops(StopOn::first, {{kNan, 1}, {kNan, 2}}), 2);
  EXPECT_EQ(stops(StopOn::first, {{kNan, 1}, {5, 2}, {kNan, 3}, {4, 4}}), 0);
}

TEST(EarlyStop, AStateOfOtherMetricsIsRefused) {
  EarlyStopState state{.metrics = {{}, {}}};
  EXPECT_THAT(
      refusal(ErrorKind::user,
              [&] { after_validation({.metrics = {{.name = "loss"}}}, std::vector<double>{1}, 1, &state); }),
      HasSubstr("knows 2 metrics of validation, the options name 1"));
  EXPECT_THAT(refusal(ErrorKind::user, [] { check(EarlyStopOptions{.patience = 3}); }),
              HasSubstr("without a metric"));
}

TEST(Schedule, NamesGoOutAndComeBackAndOthersAreListed) {
  DecayStrategy strategy = DecayStrategy::none;
  parse("epoch+stalled", &strategy);
  EXPECT_EQ(strategy, DecayStrategy::epoch_stalled);
  for (const ScheduleKind kind : {ScheduleKind::constant, ScheduleKind::inverse_sqrt, ScheduleKind::cosine}) {
    ScheduleKind back = ScheduleKind::linear;
    parse(name_of(kind), &back);
    EXPECT_EQ(back, kind);
  }
  StopOn on = StopOn::first;
  EXPECT_EQ(refusal(ErrorKind::user, [&] { parse("each", &on); }),
            "unknown early stopping mode 'each'; there are first, all, any");
}

}  // namespace
}  // namespace floe
