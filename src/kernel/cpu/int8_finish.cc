#include "kernel/cpu/int8_finish.h"

#include "kernel/cpu/int8_tile.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/cpu/int8_finish.cc"
#include "kernel/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void finish_rows(const Int8Finish& f) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  constexpr int64_t kLanes = HWY_LANES(float);
  for (int64_t i = 0; i < f.rows; ++i) {
    const int32_t* sums = f.sums + i * kInt8Columns;
    float* c = f.c + i * f.c_row;
    const float scale = f.a_scale[i * f.a_step];
    const auto rows_scale = hn::Set(d, scale);
    const auto take_off = hn::Set(di, f.take_off[i]);
    int64_t j = 0;
    for (; j + kLanes <= f.columns; j += kLanes) {
      const auto sum = hn::ConvertTo(d, hn::Sub(hn::LoadU(di, sums + j), take_off));
      const auto column_scale = f.b_each ? hn::LoadU(d, f.b_scale + j) : hn::Set(d, *f.b_scale);
      auto y = hn::Mul(hn::Mul(sum, rows_scale), column_scale);
      if (f.bias != nullptr) y = hn::Add(y, hn::LoadU(d, f.bias + j));
      hn::StoreU(y, d, c + j);
    }
    for (; j < f.columns; ++j) {
      const auto sum =
          static_cast<int32_t>(static_cast<uint32_t>(sums[j]) - static_cast<uint32_t>(f.take_off[i]));
      const float y = static_cast<float>(sum) * scale * f.b_scale[f.b_each ? j : 0];
      c[j] = f.bias == nullptr ? y : y + f.bias[j];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floe {

HWY_EXPORT(finish_rows);
void int8_finish(const Int8Finish& f) { HWY_DYNAMIC_DISPATCH(finish_rows)(f); }

}  // namespace floe
#endif
