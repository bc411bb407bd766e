// scalar_math.h against double, and the vector forms against scalar_math.h on every target this machine can
// run.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/cpu/math_test.cc"
#include "kernel/cpu/simd.h"

#include "kernel/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

enum { kExpFn, kLogFn, kTanhFn, kErfFn, kMaxFn, kMinFn, kFunctions };

// out[i] = function(in[i]); n is a multiple of 16, the longest vector.
void apply_vectors(int function, const float* in, float* out, size_t n) {
  const hn::ScalableTag<float> d;
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(d, in + i);
    const auto other = hn::Reverse(d, x);
    auto y = x;
    if (function == kExpFn) y = exp_f32(d, x);
    if (function == kLogFn) y = log_f32(d, x);
    if (function == kTanhFn) y = tanh_f32(d, x);
    if (function == kErfFn) y = erf_f32(d, x);
    if (function == kMaxFn) y = max_f32(x, other);
    if (function == kMinFn) y = min_f32(x, other);
    hn::StoreU(y, d, out + i);
  }
}
size_t lanes() { return hn::Lanes(hn::ScalableTag<float>()); }

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace floe {
namespace {

HWY_EXPORT(apply_vectors);
HWY_EXPORT(lanes);
using N_SCALAR::kErfFn;
using N_SCALAR::kExpFn;
using N_SCALAR::kFunctions;
using N_SCALAR::kLogFn;
using N_SCALAR::kMaxFn;
using N_SCALAR::kTanhFn;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Every `step`th bit pattern: all exponents, both signs, infinities and NaN.
std::vector<float> floats_of_all_sizes(uint32_t step) {
  std::vector<float> values = {0.0f, -0.0f, kInf,   -kInf,  kNan,    -kNan,
                               1.0f, -1.0f, 88.72f, -87.4f, -103.9f, -104.1f};
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += step) {
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }
  while (values.size() % 16 != 0) values.push_back(0.5f);
  return values;
}

double unit_of_last_place(double value) {
  int exponent;
  std::frexp(value, &exponent);
  return std::ldexp(1.0, std::max(exponent - 24, -149));
}

double worst_error(float (*got)(float), double (*want)(double), double from, double to) {
  double worst = 0;
  for (const float x : floats_of_all_sizes(5003)) {
    if (!(x >= from && x <= to)) continue;
    const double w = want(x);
    const float g = got(x);
    if (std::fabs(w) > std::numeric_limits<float>::max()) continue;
    worst = std::max(worst, std::fabs(g - w) / unit_of_last_place(w));
  }
  return worst;
}

TEST(ScalarMath, StaysWithinTheStatedErrors) {
  EXPECT_LE(worst_error(scalar::exp, std::exp, -kInf, 88.7228), 1.1);
  EXPECT_LE(worst_error(scalar::log, std::log, 1e-45, 3.4e38), 1.0);
  EXPECT_LE(worst_error(scalar::tanh, std::tanh, -kInf, kInf), 1.5);
  EXPECT_LE(worst_error(scalar::erf, std::erf, -kInf, kInf), 1.5);
}

TEST(ScalarMath, GivesTheRightSpecialValues) {
  for (auto f : {scalar::exp, scalar::log, scalar::tanh, scalar::erf}) EXPECT_TRUE(std::isnan(f(kNan)));
  EXPECT_EQ(scalar::exp(kInf), kInf);
  EXPECT_EQ(scalar::exp(-kInf), 0.0f);
  EXPECT_EQ(scalar::exp(88.73f), kInf);
  EXPECT_EQ(scalar::exp(-103.0f), std::exp(-103.0f));  // subnormal
  EXPECT_EQ(scalar::exp(-105.0f), 0.0f);
  EXPECT_EQ(scalar::exp(0.0f), 1.0f);
  EXPECT_EQ(scalar::log(kInf), kInf);
  EXPECT_EQ(scalar::log(0.0f), -kInf);
  EXPECT_EQ(scalar::log(-0.0f), -kInf);
  EXPECT_TRUE(std::isnan(scalar::log(-1.0f)));
  EXPECT_TRUE(std::isnan(scalar::log(-kInf)));
  EXPECT_EQ(scalar::log(1.0f), 0.0f);
  EXPECT_EQ(scalar::tanh(kInf), 1.0f);
  EXPECT_EQ(scalar::tanh(-kInf), -1.0f);
  EXPECT_TRUE(std::signbit(scalar::tanh(-0.0f)));
  EXPECT_EQ(scalar::erf(kInf), 1.0f);
  EXPECT_EQ(scalar::erf(-kInf), -1.0f);
  EXPECT_TRUE(std::signbit(scalar::erf(-0.0f)));
  EXPECT_TRUE(std::isnan(scalar::max(kNan, 1.0f)) && std::isnan(scalar::max(1.0f, kNan)));
  EXPECT_TRUE(std::isnan(scalar::min(kNan, 1.0f)) && std::isnan(scalar::min(1.0f, kNan)));
}

TEST(ScalarMath, DividesAsPythonDoes) {
  EXPECT_EQ(scalar::floordiv(1.0f, 0.1f), 9.0f);
  EXPECT_EQ(scalar::floordiv(0.5f, 0.1f), 4.0f);
  EXPECT_EQ(scalar::floordiv(6.0f, 0.2f), 29.0f);
  EXPECT_EQ(scalar::floordiv(-7.0f, 2.0f), -4.0f);
  EXPECT_EQ(scalar::rem(-7.0f, 2.0f), 1.0f);
  EXPECT_EQ(scalar::rem(7.0f, -2.0f), -1.0f);
  EXPECT_EQ(scalar::floordiv(1.0f, 0.0f), kInf);
  EXPECT_TRUE(std::isnan(scalar::rem(1.0f, 0.0f)));
}

TEST(VectorMath, EqualsTheScalarFormBitForBitOnEveryTarget) {
  const std::vector<float> in = floats_of_all_sizes(9973);
  std::vector<float> out(in.size());
  const auto same = [](float a, float b) {
    return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
  };
  int targets = 0;
  for (const int64_t target : {HWY_SCALAR, HWY_AVX2, HWY_AVX3}) {
    hwy::SetSupportedTargetsForTest(0);
    if ((hwy::SupportedTargets() & target) == 0) continue;
    ++targets;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    const size_t n = HWY_DYNAMIC_DISPATCH(lanes)();
    EXPECT_EQ(n, target == HWY_AVX3 ? 16u : target == HWY_AVX2 ? 8u : 1u);
    for (int function = 0; function < kFunctions; ++function) {
      HWY_DYNAMIC_DISPATCH(apply_vectors)(function, in.data(), out.data(), in.size());
      for (size_t i = 0; i < in.size(); ++i) {
        const float x = in[i];
        const float other = in[i - i % n + (n - 1 - i % n)];
        const float want = function == kExpFn    ? scalar::exp(x)
                           : function == kLogFn  ? scalar::log(x)
                           : function == kTanhFn ? scalar::tanh(x)
                           : function == kErfFn  ? scalar::erf(x)
                           : function == kMaxFn  ? scalar::max(x, other)
                                                 : scalar::min(x, other);
        ASSERT_TRUE(same(out[i], want)) << hwy::TargetName(target) << " function " << function << " of " << x;
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  EXPECT_GE(targets, 1);
}

}  // namespace
}  // namespace floe
#endif  // HWY_ONCE
