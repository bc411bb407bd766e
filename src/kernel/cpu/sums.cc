#include "kernel/cpu/sums.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/cpu/sums.cc"
#include "kernel/cpu/simd.h"
//
#include "kernel/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int kSums = 16;
constexpr int kLanes = HWY_LANES(float);
constexpr int kVectors = kSums / kLanes;

// `take` folds a value into a running one, `join` folds two running ones.
template <class Take, class Join>
float fold(const float* x, int64_t n, float start, Take take, Join join) {
  const hn::ScalableTag<float> d;
  hn::Vec<decltype(d)> sums[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = hn::Set(d, start);
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int v = 0; v < kVectors; ++v) sums[v] = take(sums[v], hn::LoadU(d, x + i + v * kLanes));
  }
  if (i < n) {
    HWY_ALIGN float tail[kSums];
    std::fill_n(tail, kSums, start);
    std::copy(x + i, x + n, tail);
    for (int v = 0; v < kVectors; ++v) sums[v] = take(sums[v], hn::Load(d, tail + v * kLanes));
  }
  HWY_ALIGN float folded[kSums];
  for (int v = 0; v < kVectors; ++v) hn::Store(sums[v], d, folded + v * kLanes);
  for (int half = kSums / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) folded[j] = join(folded[j], folded[j + half]);
  }
  return folded[0];
}

float add_scalar(float a, float b) { return a + b; }

float sum(const float* x, int64_t n) {
  return fold(x, n, 0.0f, [](auto a, auto b) { return hn::Add(a, b); }, add_scalar);
}
float sum_squares(const float* x, int64_t n) {
  return fold(x, n, 0.0f, [](auto a, auto b) { return hn::Add(a, hn::Mul(b, b)); }, add_scalar);
}
float max(const float* x, int64_t n) {
  return fold(
      x, n, -std::numeric_limits<float>::infinity(), [](auto a, auto b) { return max_f32(a, b); },
      scalar::max);
}

void add_rows(float* to, const float* x, int64_t n) {
  const hn::ScalableTag<float> d;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    hn::StoreU(hn::Add(hn::LoadU(d, to + i), hn::LoadU(d, x + i)), d, to + i);
  for (; i < n; ++i) to[i] += x[i];
}
void max_rows(float* to, const float* x, int64_t n) {
  const hn::ScalableTag<float> d;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    hn::StoreU(max_f32(hn::LoadU(d, to + i), hn::LoadU(d, x + i)), d, to + i);
  for (; i < n; ++i) to[i] = scalar::max(to[i], x[i]);
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floe {

HWY_EXPORT(sum);
HWY_EXPORT(sum_squares);
HWY_EXPORT(max);
HWY_EXPORT(add_rows);
HWY_EXPORT(max_rows);

float block_sum(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(sum)(x, n); }
float block_max(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(max)(x, n); }
float block_sum_squares(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(sum_squares)(x, n); }
void add_to(float* to, const float* x, int64_t n) { HWY_DYNAMIC_DISPATCH(add_rows)(to, x, n); }
void max_to(float* to, const float* x, int64_t n) { HWY_DYNAMIC_DISPATCH(max_rows)(to, x, n); }

}  // namespace floe
#endif
