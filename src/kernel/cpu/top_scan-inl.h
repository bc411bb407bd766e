// Offers every element of f(x[0..n-1]) to a TopList, skipping whole vectors that cannot enter. Included once
// a target, after kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_KERNEL_CPU_TOP_SCAN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_KERNEL_CPU_TOP_SCAN_INL_H_
#undef FLOE_KERNEL_CPU_TOP_SCAN_INL_H_
#else
#define FLOE_KERNEL_CPU_TOP_SCAN_INL_H_
#endif

#include "kernel/cpu/top_list.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

// f maps a vector; it is applied to full vectors only, the tail goes through a padded copy.
template <class F>
void scan_top(const float* x, int64_t n, TopList& top, const F& f) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN float block[HWY_MAX_BYTES / sizeof(float)];
  const auto take = [&](auto values, int64_t from, int64_t count) HWY_ATTR {
    if (top.full() && hn::AllFalse(d, hn::Gt(values, hn::Set(d, top.bar())))) return;
    hn::Store(values, d, block);
    for (int64_t i = 0; i < count; ++i) top.offer(block[i], static_cast<int32_t>(from + i));
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) take(f(d, hn::LoadU(d, x + i)), i, lanes);
  if (i < n) {
    HWY_ALIGN float tail[HWY_MAX_BYTES / sizeof(float)] = {};
    for (int64_t j = i; j < n; ++j) tail[j - i] = x[j];
    take(f(d, hn::Load(d, tail)), i, n - i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
