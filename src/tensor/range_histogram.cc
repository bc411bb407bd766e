#include "tensor/range_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "tensor/quantize.h"

namespace floe {
namespace {

constexpr int kSubBits = 9;  // 512 bins an octave
constexpr int kLowExponent = -30, kHighExponent = 30;
constexpr uint32_t kFirst = static_cast<uint32_t>(127 + kLowExponent) << kSubBits;
constexpr size_t kBins = static_cast<size_t>(kHighExponent - kLowExponent) << kSubBits;
constexpr double kSampleUnit = 0x1p-24;

// Of a size that is not 0; what lies beyond an end belongs to the last bin there.
size_t bin_of(float size) {
  const uint32_t key = std::bit_cast<uint32_t>(size) >> (23 - kSubBits);
  return key < kFirst ? 0 : std::min<size_t>(key - kFirst, kBins - 1);
}
// Where a bin begins; the end of the last for kBins.
float lower_edge(size_t bin) {
  return std::bit_cast<float>((static_cast<uint32_t>(bin) + kFirst) << (23 - kSubBits));
}

}  // namespace

std::string_view name_of(RangeMethod method) {
  constexpr std::string_view kNames[] = {"minmax", "average", "percentile", "entropy", "mse"};
  return kNames[static_cast<int>(method)];
}

void parse(std::string_view text, RangeMethod* method) {
  for (const RangeMethod each : {RangeMethod::minmax, RangeMethod::average, RangeMethod::percentile,
                                 RangeMethod::entropy, RangeMethod::mse}) {
    if (text != name_of(each)) continue;
    *method = each;
    return;
  }
  fail_user("'{}' is none of minmax, average, percentile, entropy, mse", text);
}

RangeHistogram::RangeHistogram() : counts_(kBins, 0) {}

void RangeHistogram::add(std::span<const float> values) {
  for (const float value : values) {
    const float size = std::fabs(value);
    if (!std::isfinite(size)) fail_user("calibration met {}", value);
    largest_of_sample_ = std::max(largest_of_sample_, size);
    if (size == 0) {
      ++zeros_;
    } else {
      ++counts_[bin_of(size)];
    }
  }
  values_ += static_cast<int64_t>(values.size());
  largest_ = std::max(largest_, largest_of_sample_);
}

void RangeHistogram::end_sample() {
  ++samples_;
  sum_of_largest_ += std::llround(std::min<double>(largest_of_sample_, 0x1p15) / kSampleUnit);
  largest_of_sample_ = 0;
}

void RangeHistogram::merge(const RangeHistogram& other) {
  for (size_t i = 0; i < kBins; ++i) counts_[i] += other.counts_[i];
  values_ += other.values_;
  zeros_ += other.zeros_;
  samples_ += other.samples_;
  sum_of_largest_ += other.sum_of_largest_;
  largest_ = std::max(largest_, other.largest_);
}

float RangeHistogram::range(const RangeOptions& options) const {
  if (!(options.percentile > 0 && options.percentile <= 100))
    fail_user("percentile must be above 0 and at most 100, got {}", options.percentile);
  if (largest_ == 0) return 0;
  switch (options.method) {
    case RangeMethod::average:
      if (samples_ == 0 || sum_of_largest_ == 0) return largest_;  // too small for the unit of the sum
      return std::min(largest_, static_cast<float>(static_cast<double>(sum_of_largest_) * kSampleUnit /
                                                   static_cast<double>(samples_)));
    case RangeMethod::percentile:
      return percentile(options.percentile);
    case RangeMethod::entropy:
      return least_divergence();
    case RangeMethod::mse:
      return least_squares();
    default:
      return largest_;
  }
}

float RangeHistogram::percentile(double percentage) const {
  const auto wanted =
      static_cast<int64_t>(std::ceil(percentage / 100 * static_cast<double>(values_ - zeros_)));
  int64_t below = 0;
  for (size_t bin = 0; bin < kBins; ++bin) {
    below += counts_[bin];
    if (below >= wanted) return std::min(largest_, lower_edge(bin + 1));
  }
  return largest_;
}

// Candidates are 128 ranges up to the largest value, so min-max is one and no better than the result.
float RangeHistogram::least_squares() const {
  constexpr int kCandidates = 128;
  float best = largest_;
  double least = std::numeric_limits<double>::infinity();
  for (int i = kCandidates; i > 0; --i) {
    const float range = largest_ * static_cast<float>(i) / kCandidates;
    const float scale = scale_for(range), inverse = reciprocal(scale);
    double sum = 0;
    for (size_t bin = 0; bin < kBins && sum < least; ++bin) {
      if (counts_[bin] == 0) continue;
      const float middle = std::min(largest_, 0.5f * (lower_edge(bin) + lower_edge(bin + 1)));
      const double error = static_cast<double>(middle) - dequantized(quantized(middle, inverse), scale);
      sum += static_cast<double>(counts_[bin]) * error * error;
    }
    if (sum < least) {
      least = sum;
      best = range;
    }
  }
  return best;
}

// P: the sizes in 2048 even bins up to a candidate, all that lies beyond in its last. Q: the same without
// what lies beyond, in 128 levels that are then spread evenly over their bins that are not empty. The
// candidate with the least sum of P log(P / Q) wins.
float RangeHistogram::least_divergence() const {
  constexpr size_t kEven = 2048, kLevels = 128;
  std::vector<double> even(kEven, 0);
  const double width = static_cast<double>(largest_) / kEven;
  for (size_t bin = 0; bin < kBins;
       ++bin) {  // a bin's count goes to the even ones in proportion to their overlap
    if (counts_[bin] == 0) continue;
    const double begin = bin == 0 ? 0 : lower_edge(bin);
    const double end = std::min<double>(largest_, lower_edge(bin + 1));
    const size_t first = std::min(kEven - 1, static_cast<size_t>(begin / width));
    const size_t last = std::min(kEven - 1, static_cast<size_t>(end / width));
    if (end <= begin || first == last) {
      even[first] += static_cast<double>(counts_[bin]);
      continue;
    }
    for (size_t k = first; k <= last; ++k) {
      const double low = std::max(begin, static_cast<double>(k) * width);
      const double high = std::min(end, static_cast<double>(k + 1) * width);
      even[k] += static_cast<double>(counts_[bin]) * std::max(0.0, high - low) / (end - begin);
    }
  }
  double all = 0, inside = 0;
  for (const double count : even) all += count;
  for (size_t k = 0; k + 1 < kLevels; ++k) inside += even[k];
  size_t best = kEven;
  double least = std::numeric_limits<double>::infinity();
  std::vector<double> q(kEven);
  for (size_t n = kLevels; n <= kEven; ++n) {
    inside += even[n - 1];
    const double beyond = all - inside;
    for (size_t level = 0; level < kLevels; ++level) {
      const size_t begin = level * n / kLevels, end = (level + 1) * n / kLevels;
      double sum = 0, filled = 0;
      for (size_t k = begin; k < end; ++k) {
        sum += even[k];
        filled += even[k] > 0 ? 1 : 0;
      }
      for (size_t k = begin; k < end; ++k) q[k] = even[k] > 0 ? sum / filled : 0;
    }
    double divergence = 0;
    for (size_t k = 0; k < n; ++k) {
      const double p = (even[k] + (k + 1 == n ? beyond : 0)) / all;
      if (p <= 0) continue;
      // A last bin that holds only what was clipped has no q: it counts as if a thousandth of a value were
      // there.
      divergence += p * std::log(p / (std::max(q[k], 1e-3) / inside));
    }
    if (divergence < least) {
      least = divergence;
      best = n;
    }
  }
  return std::min(largest_, static_cast<float>(width * static_cast<double>(best)));
}

}  // namespace floe
