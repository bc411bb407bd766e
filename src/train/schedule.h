// How the learning rate moves and when training stops, as plain data and pure functions: a checkpoint holds
// the states whole, so a resumed run goes on as if it had never stopped.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace floe {

enum class ScheduleKind { constant, inverse_sqrt, cosine, linear };

// With w = warmup (0 counts as 1 for inverse_sqrt), T = total and s = min(step, T), for step = 1, 2, ...:
//   any kind, step <= w   rate * step / w
//   constant              rate
//   inverse_sqrt          rate * sqrt(w / step)  (Vaswani et al., "Attention is all you need", 5.3)
//   cosine                min + (rate - min) * (1 + cos(pi * (s - w) / (T - w))) / 2  (Loshchilov and Hutter,
//   "SGDR") linear                min + (rate - min) * (T - s) / (T - w)
// All but the warm-up is then multiplied by the factor that decay left, and is at least `min_rate`.
struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::inverse_sqrt;
  double rate = 1e-3;
  double min_rate = 0;
  int64_t warmup = 0;
  int64_t total = 0;  // steps; of cosine and linear
};

// Throws Error{user} naming the field.
void check(const ScheduleOptions& options);
double learning_rate(const ScheduleOptions& options, int64_t step, double factor = 1);

enum class DecayStrategy { none, epoch, stalled, epoch_stalled };

// epoch          at the end of every epoch from `start_epoch` on
// stalled        after every validation that makes the count of stalled ones a multiple of `start_stalled`
// epoch+stalled  both, independently
struct DecayOptions {
  DecayStrategy strategy = DecayStrategy::none;
  double factor = 0.5;
  int64_t start_epoch = 1;  // counted from 1
  int64_t start_stalled = 1;
};

struct DecayState {
  double factor = 1;  // so far
  int64_t decays = 0;
  bool operator==(const DecayState&) const = default;
};

void check(const DecayOptions& options);
// Both say whether the rate was lowered.
bool decay_after_epoch(const DecayOptions& options, int64_t epoch_finished, DecayState* state);
bool decay_after_validation(const DecayOptions& options, int64_t stalled, DecayState* state);

// One row a metric of validation; the first is the one that counts for StopOn::first.
struct MetricRule {
  std::string name;
  bool higher_is_better = false;
  double epsilon = 0;  // a better value must be better by more than this
};

enum class StopOn { first, all, any };

struct EarlyStopOptions {
  std::vector<MetricRule> metrics;
  StopOn on = StopOn::first;
  int64_t patience = 0;  // validations without a better value before training stops; 0: never
};

struct MetricState {
  bool has_best = false;
  double best = 0;
  int64_t best_step = 0;
  int64_t stalled = 0;  // validations since
  bool operator==(const MetricState&) const = default;
};

struct EarlyStopState {
  std::vector<MetricState> metrics;  // beside EarlyStopOptions::metrics
  bool operator==(const EarlyStopState&) const = default;
};

struct ValidationVerdict {
  std::vector<bool> improved;  // by metric
  int64_t stalled = 0;         // as stalled_validations() says
  bool stop = false;
};

void check(const EarlyStopOptions& options);
// Of the first metric, the least stalled (all) or the most stalled one (any); 0 before any validation.
int64_t stalled_validations(const EarlyStopOptions& options, const EarlyStopState& state);
// Whether these validations end the run.
bool stops_early(const EarlyStopOptions& options, const EarlyStopState& state);

// `values` stand beside options.metrics; NaN is never an improvement. An empty state is a fresh one; one of
// another number of metrics is Error{user}.
ValidationVerdict after_validation(const EarlyStopOptions& options, std::span<const double> values,
                                   int64_t step, EarlyStopState* state);

// Names as they stand in files: "inverse_sqrt", "epoch+stalled", "any", ...; parse throws Error{user} listing
// them.
std::string_view name_of(ScheduleKind value);
std::string_view name_of(DecayStrategy value);
std::string_view name_of(StopOn value);
void parse(std::string_view text, ScheduleKind* value);
void parse(std::string_view text, DecayStrategy* value);
void parse(std::string_view text, StopOn* value);

}  // namespace floe
