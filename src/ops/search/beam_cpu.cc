// beam_candidates: for each row the maximum, the sum of exponentials, and its own C best; then a merge within
// the sentence. A row's numbers come from 16 partial sums that do not depend on the machine's vectors.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/search/beam_cpu.cc"
#include "kernel/cpu/simd.h"
// After simd.h.
#include "kernel/cpu/math-inl.h"
#include "kernel/cpu/top_scan-inl.h"
// The rest.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "kernel/cpu/scalar_math.h"
#include "ops/search/search_kernel.h"

#ifndef FLOE_OPS_SEARCH_ROW_STATS_
#define FLOE_OPS_SEARCH_ROW_STATS_
namespace floe {

// log-probability of id = (x[id] - most) - log_sum
struct RowStats {
  float most = -std::numeric_limits<float>::infinity();
  float log_sum = 0;
  bool sound = true;  // no NaN, no +inf
};

}  // namespace floe
#endif

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

constexpr int64_t kSums = 16;

RowStats row_stats(const float* x, int64_t n) {
  const hn::CappedTag<float, kSums> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const float none = -std::numeric_limits<float>::infinity();
  HWY_ALIGN float tail[kSums];
  HWY_ALIGN float sums[kSums];
  const int64_t whole = n / kSums * kSums;
  std::fill_n(tail, kSums, none);
  std::copy(x + whole, x + n, tail);

  V most_lanes = hn::Set(d, none);
  for (int64_t i = 0; i < whole; i += lanes) most_lanes = max_f32(most_lanes, hn::LoadU(d, x + i));
  for (int64_t i = 0; i < kSums; i += lanes) most_lanes = max_f32(most_lanes, hn::Load(d, tail + i));
  hn::Store(most_lanes, d, sums);
  float most = none;
  for (int64_t i = 0; i < lanes; ++i) most = sums[i] > most || sums[i] != sums[i] ? sums[i] : most;
  if (most == none) return {};  // everything is forbidden
  if (!std::isfinite(most)) return {most, 0, false};

  std::fill_n(sums, kSums, 0.0f);
  const auto add = [&](const float* from) HWY_ATTR {
    for (int64_t i = 0; i < kSums; i += lanes) {
      const V e = exp_f32(d, hn::Sub(hn::LoadU(d, from + i), hn::Set(d, most)));
      hn::Store(hn::Add(hn::Load(d, sums + i), e), d, sums + i);
    }
  };
  for (int64_t i = 0; i < whole; i += kSums) add(x + i);
  add(tail);
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return {most, scalar::log(sums[0]), true};
}

RowStats candidates_of_row(const float* x, int64_t n, float score, TopList& top) {
  RowStats stats = row_stats(x, n);
  stats.sound = stats.sound && std::isfinite(score);
  if (!stats.sound) return stats;
  scan_top(x, n, top, [&](auto d, auto v) HWY_ATTR {
    const auto log_prob = hn::Sub(hn::Sub(v, hn::Set(d, stats.most)), hn::Set(d, stats.log_sum));
    return hn::Add(hn::Set(d, score), log_prob);
  });
  return stats;
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floe {
namespace {

HWY_EXPORT(candidates_of_row);

constexpr float kNone = -std::numeric_limits<float>::infinity();

struct CandidateSizes {
  int64_t beam;
  int64_t candidates;
  size_t bytes(int64_t rows) const {  // of every row: stats, values and ids of its list
    return static_cast<size_t>(rows) * (sizeof(RowStats) + 8 * static_cast<size_t>(candidates));
  }
};

void run_candidates(const KernelRun& run, const CandidateSizes& sizes) {
  const View& logits = run.inputs[0];
  const auto* scores = run.inputs[1].as<float>();
  const int64_t rows = logits.dim(0);
  const int64_t vocabulary = logits.dim(1);
  const int64_t c = sizes.candidates;
  auto* stats = static_cast<RowStats*>(run.workspace);
  auto* list_values = reinterpret_cast<float*>(stats + rows);
  auto* list_ids = reinterpret_cast<int32_t*>(list_values + rows * c);
  run.pool->run(rows, [&](int64_t row, int) {
    TopList top(list_values + row * c, list_ids + row * c, c);
    stats[row] = {};
    if (scores[row] == kNone) return;
    stats[row] = HWY_DYNAMIC_DISPATCH(candidates_of_row)(logits.as<float>() + row * vocabulary, vocabulary,
                                                         scores[row], top);
  });
  for (int64_t s = 0; s < run.outputs[0].dim(0); ++s) {
    auto* values = run.outputs[0].as<float>() + s * c;
    auto* tokens = run.outputs[1].as<int32_t>() + s * c;
    auto* parents = run.outputs[2].as<int32_t>() + s * c;
    auto* log_probs = run.outputs[3].as<float>() + s * c;
    TopList merged(values, tokens, c);  // index: place * c + position in that row's list
    bool all_sound = true;
    for (int64_t place = 0; place < sizes.beam; ++place) {
      const int64_t row = s * sizes.beam + place;
      all_sound = all_sound && stats[row].sound;
      for (int64_t j = 0; j < c && list_values[row * c + j] > kNone; ++j) {
        merged.offer(list_values[row * c + j], static_cast<int32_t>(place * c + j));
      }
    }
    for (int64_t j = 0; j < c; ++j) {
      if (tokens[j] < 0) {
        parents[j] = -1;
        log_probs[j] = kNone;
        if (!all_sound) values[j] = std::numeric_limits<float>::quiet_NaN();
        continue;
      }
      const int64_t place = tokens[j] / c;
      const int64_t row = s * sizes.beam + place;
      const int64_t at = row * c + tokens[j] % c;
      tokens[j] = list_ids[at];
      parents[j] = static_cast<int32_t>(place);
      const float x = logits.as<float>()[row * vocabulary + tokens[j]];
      log_probs[j] = (x - stats[row].most) - stats[row].log_sum;
    }
  }
}

void run_advance(const KernelRun& run, int64_t beam_in) {
  const auto* values = run.inputs[0].as<float>();
  const auto* tokens = run.inputs[1].as<int32_t>();
  const auto* parents = run.inputs[2].as<int32_t>();
  const int64_t width = run.inputs[0].dim(1);
  const int64_t ends_width = run.inputs[3].dim(1);
  const int64_t beam = run.outputs[3].dim(1);
  for (int64_t s = 0; s < run.inputs[0].dim(0); ++s) {
    const int32_t phase = run.inputs[4].as<int32_t>()[s];
    const int32_t* ends = run.inputs[3].as<int32_t>() + s * ends_width;
    const int64_t first = s * width;
    const auto is_end = [&](int64_t j) {
      return phase > 0 && std::find(ends, ends + ends_width, tokens[first + j]) != ends + ends_width;
    };
    const auto counts = [&](int64_t j) {
      return tokens[first + j] >= 0 && !(phase == 1 && j > 0 && is_end(j));
    };
    // The first candidate that is not among the `beam` best ones: where replacements start.
    int64_t spare = 0;
    for (int64_t taken = 0; spare < width && taken < beam; ++spare) taken += counts(spare);
    const int64_t best_end = spare;
    int64_t next = 0;
    for (int64_t place = 0; place < beam; ++place) {
      const int64_t at = s * beam + place;
      while (next < best_end && !counts(next)) ++next;
      int64_t pick = next < best_end ? next++ : -1;
      int32_t ended = -1;
      if (pick >= 0 && is_end(pick)) {
        ended = static_cast<int32_t>(pick);
        while (spare < width && (!counts(spare) || is_end(spare))) ++spare;
        pick = spare < width ? spare++ : -1;
      }
      const bool alive = pick >= 0;
      const int32_t parent = alive ? parents[first + pick] : 0;
      run.outputs[0].as<int32_t>()[at] = static_cast<int32_t>(s * beam_in) + parent;
      run.outputs[1].as<int32_t>()[at] = alive ? tokens[first + pick] : 0;
      run.outputs[2].as<float>()[at] = alive ? values[first + pick] : kNone;
      run.outputs[3].as<int32_t>()[at] = static_cast<int32_t>(pick);
      run.outputs[4].as<int32_t>()[at] = ended;
    }
  }
}

void run_rows(const KernelRun& run) {
  const View& state = run.inputs[0];
  const int64_t width = state.dim(1);
  const auto line = static_cast<size_t>(width) * sizeof(int32_t);
  auto* current = run.outputs[1].as<int32_t>();
  const int64_t rows = run.outputs[1].dim(0);
  if (rows > state.dim(0)) fail_user("{} rows do not fit a state of {}", rows, state.dim(0));
  if (line == 0) return;
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t row = run.inputs[1].as<int32_t>()[r];
    if (row < 0 || row >= state.dim(0)) fail_user("row {} is outside 0..{}", row, state.dim(0) - 1);
    std::memcpy(current + r * width, state.as<int32_t>() + row * width, line);
    const int32_t position = run.inputs[2].as<int32_t>()[r];
    if (position >= 0 && position < width) current[r * width + position] = run.inputs[3].as<int32_t>()[r];
  }
  if (run.outputs[0].data != state.data) {
    std::memcpy(run.outputs[0].data, state.data, line * static_cast<size_t>(state.dim(0)));
  }
  if (rows > 0) std::memcpy(run.outputs[0].data, current, line * static_cast<size_t>(rows));
}

}  // namespace

void add_beam_cpu(KernelTable& table) {
  Kernel candidates;
  candidates.op = "beam_candidates";
  candidates.name = "beam_candidates.f32";
  candidates.supports = [](const KernelSignature& s) {
    return s.inputs[0] == DType::f32 && s.inputs[1] == DType::f32;
  };
  candidates.bind = [](const KernelCall& call) {
    const CandidateSizes sizes{call.attrs.integer("beam"), call.attrs.integer("candidates")};
    return BoundKernel{sizes.bytes(call.inputs[0].dim(0)),
                       [sizes](const KernelRun& run) { run_candidates(run, sizes); }};
  };
  table.add(std::move(candidates));

  Kernel advance;
  advance.op = "beam_advance";
  advance.name = "beam_advance.f32";
  advance.supports = [](const KernelSignature& s) { return s.inputs[0] == DType::f32; };
  advance.bind = [](const KernelCall& call) {
    const int64_t beam_in = call.attrs.integer("beam_in");
    return BoundKernel{0, [beam_in](const KernelRun& run) { run_advance(run, beam_in); }};
  };
  table.add(std::move(advance));

  Kernel rows;
  rows.op = "beam_rows";
  rows.name = "beam_rows.i32";
  rows.in_place = {{0, 0}};
  rows.supports = [](const KernelSignature&) { return true; };
  rows.bind = [](const KernelCall&) { return BoundKernel{0, run_rows}; };
  table.add(std::move(rows));
}

}  // namespace floe
#endif  // HWY_ONCE
