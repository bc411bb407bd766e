#include "kernel/cpu/row_softmax.h"

#include <algorithm>

#include "kernel/cpu/sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/cpu/row_softmax.cc"
#include "kernel/cpu/simd.h"
//
#include "kernel/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kLanes = HWY_LANES(float);

void subtract_and_exp(float* x, int64_t n, float most) {
  const hn::ScalableTag<float> d;
  const auto m = hn::Set(d, most);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(exp_f32(d, hn::Sub(hn::LoadU(d, x + i), m)), d, x + i);
  for (; i < n; ++i) x[i] = scalar::exp(x[i] - most);
}

void scale_and_shift(float* x, int64_t n, float factor, float offset) {
  const hn::ScalableTag<float> d;
  const auto f = hn::Set(d, factor), o = hn::Set(d, offset);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::Add(hn::Mul(hn::LoadU(d, x + i), f), o), d, x + i);
  for (; i < n; ++i) x[i] = x[i] * factor + offset;
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floe {

HWY_EXPORT(subtract_and_exp);
HWY_EXPORT(scale_and_shift);

RowExp exp_row(float* x, int64_t n) {
  RowExp row;
  row.most = block_max(x, std::min(n, kSumBlock));
  for (int64_t i = kSumBlock; i < n; i += kSumBlock) {
    row.most = scalar::max(row.most, block_max(x + i, std::min(kSumBlock, n - i)));
  }
  for (int64_t i = 0; i < n; i += kSumBlock) {
    const int64_t size = std::min(kSumBlock, n - i);
    row.sum += block_sum(x + i, size);
    HWY_DYNAMIC_DISPATCH(subtract_and_exp)(x + i, size, row.most);
    row.sum_exp += block_sum(x + i, size);
  }
  return row;
}

void scale_row(float* x, int64_t n, float factor, float offset) {
  HWY_DYNAMIC_DISPATCH(scale_and_shift)(x, n, factor, offset);
}

}  // namespace floe
#endif
