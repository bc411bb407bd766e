// Loops over a row, a vector at a time. Included once a target, after kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_KERNEL_CPU_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_KERNEL_CPU_VECTORS_INL_H_
#undef FLOE_KERNEL_CPU_VECTORS_INL_H_
#else
#define FLOE_KERNEL_CPU_VECTORS_INL_H_
#endif

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Calls body(offset, mask) for each vector of 0..n; the mask is not full only at the end.
template <class Body>
HWY_INLINE void each_vector(int64_t n, const Body& body) {
  const hn::ScalableTag<float> d;
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(d));
  const auto full = hn::FirstN(d, static_cast<size_t>(kStep));
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) body(i, full);
  if (i < n) body(i, hn::FirstN(d, static_cast<size_t>(n - i)));
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
