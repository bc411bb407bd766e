// Softmax of one row. Included once a target, after kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_KERNEL_CPU_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_KERNEL_CPU_SOFTMAX_INL_H_
#undef FLOE_KERNEL_CPU_SOFTMAX_INL_H_
#else
#define FLOE_KERNEL_CPU_SOFTMAX_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernel/cpu/exp-inl.h"
#include "kernel/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The maximum of scale * x, and the sum of exp(scale * x - maximum), which is written to y unless that is
// null. A row of -inf has sum 0. A NaN makes the sum NaN.
struct RowSum {
  float top, sum;
};
HWY_INLINE RowSum exp_row(const float* x, float* y, int64_t n, float scale) {
  const hn::ScalableTag<float> d;
  const float infinity = std::numeric_limits<float>::infinity();
  const auto factor = hn::Set(d, scale);
  const auto lowest = hn::Set(d, -infinity);
  auto top = lowest;
  each_vector(n, [&](int64_t i, auto mask) {
    top = hn::Max(top, hn::IfThenElse(mask, hn::Mul(hn::MaskedLoad(mask, d, x + i), factor), lowest));
  });
  RowSum row{hn::GetLane(hn::MaxOfLanes(d, top)), 0};
  const auto shift = hn::Set(d, row.top == -infinity ? 0.0f : row.top);
  // Sums of 1024 elements each, then these: a long row's rounding grows with its square root at most.
  constexpr int64_t kRun = 1024;
  auto sum = hn::Zero(d);
  for (int64_t from = 0; from < n; from += kRun) {
    auto run = hn::Zero(d);
    each_vector(HWY_MIN(kRun, n - from), [&](int64_t i, auto mask) {
      const auto e = fast_exp(d, hn::Sub(hn::Mul(hn::MaskedLoad(mask, d, x + from + i), factor), shift));
      run = hn::Add(run, hn::IfThenElseZero(mask, e));
      if (y != nullptr) hn::BlendedStore(e, mask, d, y + from + i);
    });
    sum = hn::Add(sum, run);
  }
  row.sum = hn::GetLane(hn::SumOfLanes(d, sum));
  return row;
}

// y = softmax(scale * x); y may be x.
HWY_INLINE void softmax_row(const float* x, float* y, int64_t n, float scale) {
  const hn::ScalableTag<float> d;
  const RowSum row = exp_row(x, y, n, scale);
  const auto factor = hn::Set(d, row.sum == 0 ? 0.0f : 1 / row.sum);
  each_vector(n, [&](int64_t i, auto mask) {
    hn::BlendedStore(hn::Mul(hn::MaskedLoad(mask, d, y + i), factor), mask, d, y + i);
  });
}

// y = x - log(sum(exp(x))); y may be x.
HWY_INLINE void log_softmax_row(const float* x, float* y, int64_t n) {
  const hn::ScalableTag<float> d;
  const RowSum row = exp_row(x, nullptr, n, 1);
  const bool nothing = row.sum == 0;
  const auto top = hn::Set(d, nothing ? 0.0f : row.top);
  const auto log_sum = hn::Set(d, nothing ? 0.0f : std::log(row.sum));
  each_vector(n, [&](int64_t i, auto mask) {
    hn::BlendedStore(hn::Sub(hn::Sub(hn::MaskedLoad(mask, d, x + i), top), log_sum), mask, d, y + i);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
