// Rows of layer_norm and rms_norm, forward and backward: mean 0 for the latter. A row stays in the L1 cache
// between its passes; the mean is taken off before squares are summed. Included once a target, after
// kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_KERNEL_CPU_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_KERNEL_CPU_NORM_INL_H_
#undef FLOE_KERNEL_CPU_NORM_INL_H_
#else
#define FLOE_KERNEL_CPU_NORM_INL_H_
#endif

#include <cmath>

#include "kernel/cpu/norm.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Adds body(offset, mask) over the vectors of 0..n into one vector for each of four, then those: a fixed
// order that depends on n alone. Lanes outside the mask are left out.
template <class Body>
HWY_INLINE float sum_vectors(int64_t n, const Body& body) {
  const hn::ScalableTag<float> d;
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(d));
  const auto full = hn::FirstN(d, static_cast<size_t>(kStep));
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * kStep <= n; i += 4 * kStep) {
    s0 = hn::Add(s0, body(i, full));
    s1 = hn::Add(s1, body(i + kStep, full));
    s2 = hn::Add(s2, body(i + 2 * kStep, full));
    s3 = hn::Add(s3, body(i + 3 * kStep, full));
  }
  for (; i + kStep <= n; i += kStep) s0 = hn::Add(s0, body(i, full));
  if (i < n) {
    const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
    s1 = hn::Add(s1, hn::IfThenElseZero(mask, body(i, mask)));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

template <class Body>
HWY_INLINE void for_vectors(int64_t n, const Body& body) {
  const hn::ScalableTag<float> d;
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(d));
  const auto full = hn::FirstN(d, static_cast<size_t>(kStep));
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) body(i, full);
  if (i < n) body(i, hn::FirstN(d, static_cast<size_t>(n - i)));
}

struct RowMoments {
  float mean, rstd;
};
template <bool kCentred>
HWY_INLINE RowMoments row_moments(const float* x, int64_t n, float eps) {
  const hn::ScalableTag<float> d;
  RowMoments m{0, 0};
  if constexpr (kCentred) {
    m.mean = sum_vectors(n, [&](int64_t i, auto mask) { return hn::MaskedLoad(mask, d, x + i); }) /
             static_cast<float>(n);
  }
  const auto mean = hn::Set(d, m.mean);
  const float squares = sum_vectors(n, [&](int64_t i, auto mask) {
    const auto c = hn::Sub(hn::MaskedLoad(mask, d, x + i), mean);
    return hn::Mul(c, c);
  });
  m.rstd = 1 / std::sqrt(squares / static_cast<float>(n) + eps);
  return m;
}

// `beta` is null unless kCentred.
template <bool kCentred>
void norm_rows(const NormRows& rows) {
  const hn::ScalableTag<float> d;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* x = rows.x + row * rows.n;
    float* y = rows.y + row * rows.n;
    const RowMoments m = row_moments<kCentred>(x, rows.n, rows.eps);
    const auto mean = hn::Set(d, m.mean);
    const auto rstd = hn::Set(d, m.rstd);
    for_vectors(rows.n, [&](int64_t i, auto mask) {
      auto v = hn::Mul(hn::Sub(hn::MaskedLoad(mask, d, x + i), mean), rstd);
      v = hn::Mul(v, hn::MaskedLoad(mask, d, rows.gamma + i));
      if constexpr (kCentred) v = hn::Add(v, hn::MaskedLoad(mask, d, rows.beta + i));
      hn::BlendedStore(v, mask, d, y + i);
    });
  }
}

// dx of the rows; adds their dy * xhat and (kCentred) dy to dgamma and dbeta, which are this block's own.
template <bool kCentred>
void norm_grad_rows(const NormGradRows& rows) {
  const hn::ScalableTag<float> d;
  const auto inverse = hn::Set(d, 1 / static_cast<float>(rows.n));
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* x = rows.x + row * rows.n;
    const float* dy = rows.dy + row * rows.n;
    float* dx = rows.dx + row * rows.n;
    const RowMoments m = row_moments<kCentred>(x, rows.n, rows.eps);
    const auto mean = hn::Set(d, m.mean);
    const auto rstd = hn::Set(d, m.rstd);
    const auto scaled = [&](int64_t i, auto mask) {
      return hn::Mul(hn::MaskedLoad(mask, d, dy + i), hn::MaskedLoad(mask, d, rows.gamma + i));
    };
    const auto xhat = [&](int64_t i, auto mask) {
      return hn::Mul(hn::Sub(hn::MaskedLoad(mask, d, x + i), mean), rstd);
    };
    const auto mean_gx = hn::Mul(inverse, hn::Set(d, sum_vectors(rows.n, [&](int64_t i, auto mask) {
                                                    return hn::Mul(scaled(i, mask), xhat(i, mask));
                                                  })));
    auto mean_g = hn::Zero(d);
    if constexpr (kCentred) mean_g = hn::Mul(inverse, hn::Set(d, sum_vectors(rows.n, scaled)));
    for_vectors(rows.n, [&](int64_t i, auto mask) {
      const auto h = xhat(i, mask);
      auto g = scaled(i, mask);
      if constexpr (kCentred) g = hn::Sub(g, mean_g);
      const auto gradient = hn::MaskedLoad(mask, d, dy + i);
      hn::BlendedStore(hn::Mul(rstd, hn::Sub(g, hn::Mul(h, mean_gx))), mask, d, dx + i);
      hn::BlendedStore(hn::MulAdd(gradient, h, hn::MaskedLoad(mask, d, rows.dgamma + i)), mask, d,
                       rows.dgamma + i);
      if constexpr (kCentred) {
        hn::BlendedStore(hn::Add(gradient, hn::MaskedLoad(mask, d, rows.dbeta + i)), mask, d, rows.dbeta + i);
      }
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
