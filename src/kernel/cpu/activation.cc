#include "kernel/cpu/activation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/cpu/activation.cc"
#include "kernel/cpu/simd.h"
//
#include "kernel/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class F>
void map_rows(float* x, int64_t row_stride, int64_t rows, int64_t columns, F f) {
  const hn::ScalableTag<float> d;
  constexpr int64_t kLanes = HWY_LANES(float);
  for (int64_t i = 0; i < rows; ++i, x += row_stride) {
    int64_t j = 0;
    for (; j + kLanes <= columns; j += kLanes) hn::StoreU(f(hn::LoadU(d, x + j)), d, x + j);
    if (kLanes == 1 || j == columns) continue;  // one lane leaves no tail, which GCC 14 cannot see
    HWY_ALIGN float tail[kLanes] = {};
    std::copy(x + j, x + columns, tail);
    hn::Store(f(hn::Load(d, tail)), d, tail);
    std::copy(tail, tail + (columns - j), x + j);
  }
}

void activate(RowActivation activation, float* x, int64_t row_stride, int64_t rows, int64_t columns) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f);
  const V inv_sqrt2 = hn::Set(d, static_cast<float>(1 / std::numbers::sqrt2));
  const V sqrt_2_over_pi = hn::Set(d, static_cast<float>(0.79788456080286535588));  // sqrt(2 / pi)
  const V cubic = hn::Set(d, 0.044715f);
  const auto sigmoid = [&](V v) { return hn::Div(one, hn::Add(one, exp_f32(d, hn::Neg(v)))); };
  const auto run = [&](auto f) { map_rows(x, row_stride, rows, columns, f); };
  switch (activation) {
    case RowActivation::none:
      return;
    case RowActivation::relu:
      return run([&](V v) { return max_f32(v, zero); });
    case RowActivation::gelu:
      return run(
          [&](V v) { return hn::Mul(hn::Mul(half, v), hn::Add(one, erf_f32(d, hn::Mul(inv_sqrt2, v)))); });
    case RowActivation::gelu_tanh:
      return run([&](V v) {
        const V cube = hn::Mul(hn::Mul(hn::Mul(cubic, v), v), v);
        const V t = tanh_f32(d, hn::Mul(sqrt_2_over_pi, hn::Add(v, cube)));
        return hn::Mul(hn::Mul(half, v), hn::Add(one, t));
      });
    case RowActivation::silu:
      return run([&](V v) { return hn::Mul(v, sigmoid(v)); });
    case RowActivation::sigmoid:
      return run(sigmoid);
    case RowActivation::tanh:
      return run([&](V v) { return tanh_f32(d, v); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floe {

HWY_EXPORT(activate);

bool find_activation(std::string_view name, RowActivation* activation) {
  constexpr struct {
    std::string_view name;
    RowActivation activation;
  } kRows[] = {{"", RowActivation::none},     {"relu", RowActivation::relu},
               {"gelu", RowActivation::gelu}, {"gelu_tanh", RowActivation::gelu_tanh},
               {"silu", RowActivation::silu}, {"sigmoid", RowActivation::sigmoid},
               {"tanh", RowActivation::tanh}};
  for (const auto& row : kRows) {
    if (row.name != name) continue;
    *activation = row.activation;
    return true;
  }
  return false;
}

void apply_activation(RowActivation activation, float* x, int64_t row_stride, int64_t rows, int64_t columns) {
  HWY_DYNAMIC_DISPATCH(activate)(activation, x, row_stride, rows, columns);
}

}  // namespace floe
#endif
