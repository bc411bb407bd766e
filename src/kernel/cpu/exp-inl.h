// exp on vectors of f32 for attention and softmax: 2^n * polynomial, fused multiply-adds. Below -86.9 the
// result is 0, above 88.7 inf; NaN stays NaN; exp(0) is exactly 1. Relative error below 2^-22. Included once
// a target, after kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_KERNEL_CPU_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_KERNEL_CPU_EXP_INL_H_
#undef FLOE_KERNEL_CPU_EXP_INL_H_
#else
#define FLOE_KERNEL_CPU_EXP_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V = hn::Vec<D>>
HWY_INLINE V fast_exp(D d, V x) {
  const hn::RebindToSigned<D> di;
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const V c = hn::Min(hn::Max(x, hn::Set(d, -86.9f)), hn::Set(d, 88.8f));
  const V t = hn::MulAdd(c, hn::Set(d, 1.44269504f), hn::Set(d, kMagic));
  const V n = hn::Sub(t, hn::Set(d, kMagic));
  const V r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(n, hn::Set(d, 0.693359375f), c));
  // Taylor's coefficients moved to the least maximum error on |r| <= ln2 / 2 (Cephes expf).
  V p = hn::MulAdd(hn::Set(d, 1.9875691500e-4f), r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  const V y = hn::Add(hn::MulAdd(hn::Mul(r, r), p, r), hn::Set(d, 1.0f));
  // n reaches 128 at the top, so 2^n is applied as 2 * 2^(n-1). The 2 comes first: no intermediate value is
  // subnormal, which would cost a microcode assist for every masked score.
  const auto bits = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 126)));
  V result = hn::Mul(hn::Add(y, y), hn::BitCast(d, bits));
  result = hn::IfThenElse(hn::Lt(x, hn::Set(d, -86.9f)), hn::Zero(d), result);
  return hn::IfThenElse(hn::Eq(x, x), result, x);
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
