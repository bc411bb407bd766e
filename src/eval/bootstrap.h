// Is one system better than another, or was it the choice of test sentences? Paired bootstrap resampling
// (Koehn 2004) over segment statistics: the same segments are drawn, with replacement, for both systems.
//
// p is the share of resamples whose score difference |s - b|, shifted to have mean 0, is at least the one
// observed, (count + 1) / (samples + 1), as in sacreBLEU but for "at least" where it has "more than": there
// two equal outputs differ "significantly", here they give p = 1. The draws are those of a std::mt19937_64
// and do not depend on the platform; they are not numpy's, so intervals agree with sacreBLEU's only to within
// the noise of resampling.
#pragma once
#include <cstdint>
#include <functional>
#include <span>

#include "eval/segments.h"

namespace floe {

struct BootstrapOptions {
  int samples = 1000;
  uint64_t seed = 12345;
};

// Of the corpus score over resamples; low and high leave samples / 40 on either side, 95% between them.
struct Interval {
  double mean = 0, low = 0, high = 0;
  double half_width() const { return 0.5 * (high - low); }
};

struct PairedResult {
  double baseline_score = 0, system_score = 0;
  Interval baseline, system;
  double p_value = 1;
};

using ScoreOfSums = std::function<double(std::span<const int64_t>)>;

// Both throw Error{user} when fewer than one sample is asked for.
Interval bootstrap(const SegmentStats& stats, const ScoreOfSums& score, const BootstrapOptions& options = {});

// The two must have the same rows: segment i of both translates the same source.
PairedResult paired_bootstrap(const SegmentStats& baseline, const SegmentStats& system,
                              const ScoreOfSums& score, const BootstrapOptions& options = {});

}  // namespace floe
