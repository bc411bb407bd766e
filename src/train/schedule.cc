#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "base/error.h"

namespace floe {
namespace {

template <class T>
using Names = std::span<const std::pair<T, std::string_view>>;

constexpr std::pair<ScheduleKind, std::string_view> kKinds[] = {{ScheduleKind::constant, "constant"},
                                                                {ScheduleKind::inverse_sqrt, "inverse_sqrt"},
                                                                {ScheduleKind::cosine, "cosine"},
                                                                {ScheduleKind::linear, "linear"}};
constexpr std::pair<DecayStrategy, std::string_view> kStrategies[] = {
    {DecayStrategy::none, "none"},
    {DecayStrategy::epoch, "epoch"},
    {DecayStrategy::stalled, "stalled"},
    {DecayStrategy::epoch_stalled, "epoch+stalled"}};
constexpr std::pair<StopOn, std::string_view> kStops[] = {
    {StopOn::first, "first"}, {StopOn::all, "all"}, {StopOn::any, "any"}};

template <class T>
std::string_view find_name(Names<T> names, T value) {
  return std::find_if(names.begin(), names.end(), [&](const auto& row) { return row.first == value; })
      ->second;
}

template <class T>
T find_value(Names<T> names, std::string_view text, std::string_view what) {
  std::string known;
  for (const auto& [value, name] : names) {
    if (name == text) return value;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
  }
  fail_user("unknown {} '{}'; there are {}", what, text, known);
}

bool uses_total(ScheduleKind kind) { return kind == ScheduleKind::cosine || kind == ScheduleKind::linear; }

}  // namespace

std::string_view name_of(ScheduleKind value) { return find_name<ScheduleKind>(kKinds, value); }
std::string_view name_of(DecayStrategy value) { return find_name<DecayStrategy>(kStrategies, value); }
std::string_view name_of(StopOn value) { return find_name<StopOn>(kStops, value); }
void parse(std::string_view text, ScheduleKind* value) {
  *value = find_value<ScheduleKind>(kKinds, text, "schedule");
}
void parse(std::string_view text, DecayStrategy* value) {
  *value = find_value<DecayStrategy>(kStrategies, text, "decay strategy");
}
void parse(std::string_view text, StopOn* value) {
  *value = find_value<StopOn>(kStops, text, "early stopping mode");
}

void check(const ScheduleOptions& options) {
  if (!(options.rate > 0) || !std::isfinite(options.rate)) {
    fail_user("learning rate {} is not a positive number", options.rate);
  }
  if (!(options.min_rate >= 0 && options.min_rate <= options.rate)) {
    fail_user("lowest learning rate {} is not between 0 and the learning rate {}", options.min_rate,
              options.rate);
  }
  if (options.warmup < 0) fail_user("warm-up of {} steps", options.warmup);
  if (uses_total(options.kind) && options.total <= options.warmup) {
    fail_user("a {} schedule of {} steps ends before its warm-up of {}", name_of(options.kind), options.total,
              options.warmup);
  }
}

double learning_rate(const ScheduleOptions& options, int64_t step, double factor) {
  FLOE_CHECK(step >= 1, "learning rate at step {}", step);
  const auto at = static_cast<double>(step);
  const auto warmup = static_cast<double>(options.warmup);
  if (step < options.warmup) return options.rate * factor * (at / warmup);
  const double span = options.rate - options.min_rate;
  const double left = static_cast<double>(options.total - std::min(step, options.total));
  const double length = static_cast<double>(options.total) - warmup;
  double rate = options.rate;
  switch (options.kind) {
    case ScheduleKind::constant:
      break;
    case ScheduleKind::inverse_sqrt:
      rate = options.rate * std::sqrt(std::max(warmup, 1.0) / at);
      break;
    case ScheduleKind::cosine:
      rate = options.min_rate + span * (1 - std::cos(std::numbers::pi * (left / length))) / 2;
      break;
    case ScheduleKind::linear:
      rate = options.min_rate + span * (left / length);
      break;
  }
  return std::max(rate * factor, options.min_rate);
}

void check(const DecayOptions& options) {
  if (!(options.factor > 0 && options.factor <= 1))
    fail_user("decay factor {} is not in (0, 1]", options.factor);
  if (options.start_epoch < 1) fail_user("decay from epoch {}; epochs count from 1", options.start_epoch);
  if (options.start_stalled < 1) fail_user("decay after {} stalled validations", options.start_stalled);
}

namespace {
bool lower(const DecayOptions& options, DecayState* state) {
  state->factor *= options.factor;
  ++state->decays;
  return true;
}
}  // namespace

bool decay_after_epoch(const DecayOptions& options, int64_t epoch_finished, DecayState* state) {
  const bool counts =
      options.strategy == DecayStrategy::epoch || options.strategy == DecayStrategy::epoch_stalled;
  return counts && epoch_finished >= options.start_epoch && lower(options, state);
}

bool decay_after_validation(const DecayOptions& options, int64_t stalled, DecayState* state) {
  const bool counts =
      options.strategy == DecayStrategy::stalled || options.strategy == DecayStrategy::epoch_stalled;
  return counts && stalled > 0 && stalled % options.start_stalled == 0 && lower(options, state);
}

void check(const EarlyStopOptions& options) {
  if (options.patience < 0) fail_user("early stopping with a patience of {}", options.patience);
  if (options.patience > 0 && options.metrics.empty()) fail_user("early stopping without a metric");
  for (const MetricRule& metric : options.metrics) {
    if (!(metric.epsilon >= 0)) fail_user("metric '{}' has epsilon {}", metric.name, metric.epsilon);
  }
}

int64_t stalled_validations(const EarlyStopOptions& options, const EarlyStopState& state) {
  if (state.metrics.empty()) return 0;
  const auto fewer = [](const MetricState& a, const MetricState& b) { return a.stalled < b.stalled; };
  const auto [least, most] = std::minmax_element(state.metrics.begin(), state.metrics.end(), fewer);
  switch (options.on) {
    case StopOn::first:
      break;
    case StopOn::all:
      return least->stalled;
    case StopOn::any:
      return most->stalled;
  }
  return state.metrics.front().stalled;
}

bool stops_early(const EarlyStopOptions& options, const EarlyStopState& state) {
  return options.patience > 0 && stalled_validations(options, state) >= options.patience;
}

ValidationVerdict after_validation(const EarlyStopOptions& options, std::span<const double> values,
                                   int64_t step, EarlyStopState* state) {
  FLOE_CHECK(values.size() == options.metrics.size(), "{} values for {} metrics", values.size(),
             options.metrics.size());
  if (state->metrics.empty()) state->metrics.resize(values.size());
  if (state->metrics.size() != values.size()) {
    fail_user("the saved state knows {} metrics of validation, the options name {}", state->metrics.size(),
              values.size());
  }
  ValidationVerdict verdict;
  for (size_t i = 0; i < values.size(); ++i) {
    const MetricRule& rule = options.metrics[i];
    MetricState& metric = state->metrics[i];
    const double gain = rule.higher_is_better ? values[i] - metric.best : metric.best - values[i];
    const bool improved = !std::isnan(values[i]) && (!metric.has_best || gain > rule.epsilon);
    if (improved) {
      metric = {.has_best = true, .best = values[i], .best_step = step, .stalled = 0};
    } else {
      ++metric.stalled;
    }
    verdict.improved.push_back(improved);
  }
  verdict.stalled = stalled_validations(options, *state);
  verdict.stop = stops_early(options, *state);
  return verdict;
}

}  // namespace floe
