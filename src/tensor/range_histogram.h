// How large the values of one activation are, over a calibration set of any length in constant memory; and
// from that the range [-T, T] that its codes shall cover.
//
// Bins are those of the floats themselves (512 to an octave, from 2^-30 to 2^30), so that they need not be
// known beforehand: counts are exact integers, and neither the order of the samples nor how they are cut into
// batches changes one. A bin is 0.2 % wide; ranges are no finer, but the largest value is kept as it is.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace floe {

// minmax      the largest |x|
// average     the mean over samples (sentences) of each one's largest |x|
// percentile  the |x| that this percentage of the values other than 0 does not exceed
// entropy     the T that loses the least information (Migacz, "8-bit inference with TensorRT", 2017)
// mse         the T with the least squared error, clipping and rounding taken together
enum class RangeMethod { minmax, average, percentile, entropy, mse };
std::string_view name_of(RangeMethod method);
void parse(std::string_view text, RangeMethod* method);  // throws Error{user} listing the names

struct RangeOptions {
  RangeMethod method = RangeMethod::mse;
  double percentile = 99.99;
};

class RangeHistogram {
 public:
  RangeHistogram();

  // Of the current sample. Throws Error{user} when one is NaN or infinite.
  void add(std::span<const float> values);
  void end_sample();
  void merge(const RangeHistogram& other);

  int64_t values() const { return values_; }
  int64_t samples() const { return samples_; }
  float largest() const { return largest_; }

  // T, at most largest(); 0 when nothing but zeros was seen. Throws Error{user} for a percentile outside (0,
  // 100].
  float range(const RangeOptions& options) const;

 private:
  float percentile(double percentage) const;
  float least_squares() const;
  float least_divergence() const;

  std::vector<int64_t> counts_;
  int64_t values_ = 0, zeros_ = 0, samples_ = 0;
  float largest_ = 0, largest_of_sample_ = 0;
  int64_t sum_of_largest_ = 0;  // over samples, in units of 2^-24: exact in any order
};

}  // namespace floe
