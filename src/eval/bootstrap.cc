#include "eval/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "base/error.h"

namespace floe {
namespace {

// std::uniform_int_distribution may differ between libraries; rejection from the top keeps every row as
// likely.
size_t draw(std::mt19937_64& random, size_t rows) {
  const uint64_t limit = UINT64_MAX - UINT64_MAX % rows;
  uint64_t value = random();
  while (value >= limit) value = random();
  return static_cast<size_t>(value % rows);
}

std::vector<double> resampled_scores(const SegmentStats& stats, const ScoreOfSums& score,
                                     const BootstrapOptions& options) {
  if (options.samples < 1) fail_user("bootstrap resampling needs at least 1 sample, not {}", options.samples);
  FLOE_CHECK(stats.rows() > 0, "there are no segments to draw from");
  std::mt19937_64 random(options.seed);
  std::vector<double> scores;
  std::vector<int64_t> sums(stats.width);
  for (int sample = 0; sample < options.samples; ++sample) {
    std::fill(sums.begin(), sums.end(), 0);
    for (size_t i = 0; i < stats.rows(); ++i) {
      const auto row = stats.row(draw(random, stats.rows()));
      for (size_t j = 0; j < row.size(); ++j) sums[j] += row[j];
    }
    scores.push_back(score(sums));
  }
  return scores;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Interval interval_of(std::vector<double> scores) {
  std::sort(scores.begin(), scores.end());
  const size_t cut = scores.size() / 40;  // 2.5% at either end
  return {.mean = mean_of(scores), .low = scores[cut], .high = scores[scores.size() - cut - 1]};
}

}  // namespace

Interval bootstrap(const SegmentStats& stats, const ScoreOfSums& score, const BootstrapOptions& options) {
  return interval_of(resampled_scores(stats, score, options));
}

PairedResult paired_bootstrap(const SegmentStats& baseline, const SegmentStats& system,
                              const ScoreOfSums& score, const BootstrapOptions& options) {
  FLOE_CHECK(baseline.rows() == system.rows() && baseline.width == system.width,
             "paired statistics differ in shape: [{}, {}] and [{}, {}]", baseline.rows(), baseline.width,
             system.rows(), system.width);
  // One seed and one number of rows: both draw the same segments.
  const std::vector<double> baseline_scores = resampled_scores(baseline, score, options);
  const std::vector<double> system_scores = resampled_scores(system, score, options);
  PairedResult result{.baseline_score = score(baseline.sums()),
                      .system_score = score(system.sums()),
                      .baseline = interval_of(baseline_scores),
                      .system = interval_of(system_scores)};
  std::vector<double> differences;
  for (size_t i = 0; i < system_scores.size(); ++i) {
    differences.push_back(std::abs(system_scores[i] - baseline_scores[i]));
  }
  const double observed = std::abs(result.system_score - result.baseline_score);
  const double mean = mean_of(differences);
  const auto as_far = std::count_if(differences.begin(), differences.end(),
                                    [&](double difference) { return difference - mean >= observed; });
  result.p_value = static_cast<double>(as_far + 1) / static_cast<double>(differences.size() + 1);
  return result;
}

}  // namespace floe
