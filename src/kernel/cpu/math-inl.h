// exp, log, tanh, erf on vectors of f32: the same polynomials and the same order of operations as
// scalar_math.h, whose comments give method and errors, so the same bits on every target. Included once a
// target, after kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_KERNEL_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_KERNEL_CPU_MATH_INL_H_
#undef FLOE_KERNEL_CPU_MATH_INL_H_
#else
#define FLOE_KERNEL_CPU_MATH_INL_H_
#endif

#include "kernel/cpu/scalar_math.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V, int N>
HWY_INLINE V polynomial(D d, const float (&c)[N], V x) {
  V p = hn::Set(d, c[N - 1]);
  for (int i = N - 2; i >= 0; --i) p = hn::Add(hn::Mul(p, x), hn::Set(d, c[i]));
  return p;
}

template <class D, class V>
HWY_INLINE V exp_f32(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V high = hn::Set(d, scalar::kExpHigh);
  const V low = hn::Set(d, scalar::kExpLow);
  const V magic = hn::Set(d, scalar::kRoundMagic);
  V c = hn::IfThenElse(hn::Lt(x, high), x, high);
  c = hn::IfThenElse(hn::Gt(c, low), c, low);
  const V t = hn::Add(hn::Mul(c, hn::Set(d, scalar::kLog2e)), magic);
  const V n = hn::Sub(t, magic);
  const V r =
      hn::Sub(hn::Sub(c, hn::Mul(n, hn::Set(d, scalar::kLn2High))), hn::Mul(n, hn::Set(d, scalar::kLn2Low)));
  const V y = hn::Add(hn::Add(hn::Mul(hn::Mul(r, r), polynomial(d, scalar::kExp, r)), r), hn::Set(d, 1.0f));
  const auto e = hn::Sub(hn::BitCast(di, t), hn::Set(di, scalar::kRoundMagicBits));
  const auto half = hn::ShiftRight<1>(e);
  const auto bias = hn::Set(di, 127);
  const V first = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const V second = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(e, half), bias)));
  const V result = hn::Mul(hn::Mul(y, first), second);
  return hn::IfThenElse(hn::Eq(x, x), result, x);
}

template <class D, class V>
HWY_INLINE V log_f32(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V inf = hn::Set(d, __builtin_inff());
  const auto tiny = hn::Lt(x, hn::Set(d, scalar::kSmallestNormal));
  const auto bits = hn::BitCast(di, hn::IfThenElse(tiny, hn::Mul(x, hn::Set(d, scalar::kTwo23)), x));
  const auto e = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(di, scalar::kSqrtHalfBits)));
  const V f = hn::Sub(hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(e))), hn::Set(d, 1.0f));
  const V k = hn::ConvertTo(d, hn::Sub(e, hn::IfThenElseZero(hn::RebindMask(di, tiny), hn::Set(di, 23))));
  const V z = hn::Mul(f, f);
  V y = hn::Add(hn::Mul(hn::Mul(f, z), polynomial(d, scalar::kLog, f)),
                hn::Mul(k, hn::Set(d, scalar::kLn2Low)));
  y = hn::Sub(y, hn::Mul(hn::Set(d, 0.5f), z));
  V result = hn::Add(hn::Add(f, y), hn::Mul(k, hn::Set(d, scalar::kLn2High)));
  result = hn::IfThenElse(hn::Lt(x, inf), result, x);
  result = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Set(d, __builtin_nanf("")), result);
  return hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(inf), result);
}

template <class D, class V>
HWY_INLINE V tanh_f32(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V a = hn::Abs(x);
  const V z = hn::Mul(x, x);
  const V small = hn::Add(x, hn::Mul(hn::Mul(x, z), polynomial(d, scalar::kTanh, z)));
  const V large = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(exp_f32(d, hn::Add(a, a)), one)));
  return hn::CopySign(hn::IfThenElse(hn::Lt(a, hn::Set(d, scalar::kTanhSmall)), small, large), x);
}

template <class D, class V>
HWY_INLINE V erf_f32(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V four = hn::Set(d, 4.0f);
  const V a = hn::Abs(x);
  const V z = hn::Mul(x, x);
  const V small = hn::Add(x, hn::Mul(x, polynomial(d, scalar::kErf, z)));
  const V t = hn::IfThenElse(hn::Lt(a, four), a, four);
  const V large = hn::Sub(one, exp_f32(d, hn::Neg(hn::Mul(t, polynomial(d, scalar::kErfc, t)))));
  const V result = hn::IfThenElse(hn::Lt(a, one), small, hn::CopySign(large, x));
  return hn::IfThenElse(hn::Eq(x, x), result, x);
}

// NaN in either operand gives NaN, which Highway's own Max and Min do not promise; nor does its Ne find NaN
// (it is an ordered comparison on AVX).
template <class V>
HWY_INLINE V max_f32(V a, V b) {
  return hn::IfThenElse(hn::Eq(a, a), hn::IfThenElse(hn::Gt(a, b), a, b), a);
}
template <class V>
HWY_INLINE V min_f32(V a, V b) {
  return hn::IfThenElse(hn::Eq(a, a), hn::IfThenElse(hn::Lt(a, b), a, b), a);
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
