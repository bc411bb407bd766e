#include "tensor/dtype.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// A binary format by its numbers, rounded in double: what to_bf16 and to_f16 must agree with.
struct Format {
  int mantissa_bits;
  int min_exponent;  // of the smallest normal number
  double overflow;   // from here on the nearest is infinity
};
constexpr Format kBf16{7, -126, 0x1.ffp127};
constexpr Format kF16{10, -14, 65520};

double reference(const Format& format, double value) {
  if (std::isnan(value) || value == 0) return value;
  if (std::fabs(value) >= format.overflow) return std::copysign(kInf, value);
  const int exponent = std::max(std::ilogb(value), format.min_exponent);
  const double quantum = std::ldexp(1.0, exponent - format.mantissa_bits);
  return std::copysign(std::nearbyint(std::fabs(value) / quantum) * quantum, value);
}

template <class From, class To>
void check_format(const Format& format, From from, To to) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = from(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(from(to(value)))) << bits;
      continue;
    }
    ASSERT_EQ(to(value), bits);
    ASSERT_EQ(std::isinf(value) ? value : reference(format, value), value) << bits;
    // The three floats round the middle between this value and the next one away from zero.
    const float next = from(static_cast<uint16_t>(bits + 1));
    if (std::isnan(next) || std::isinf(value)) continue;
    const double middle = std::isinf(next) ? std::copysign(format.overflow, value)
                                           : (static_cast<double>(value) + static_cast<double>(next)) / 2;
    const auto tie = static_cast<float>(middle);
    ASSERT_EQ(tie, middle) << "a middle is a float";
    for (const float near :
         {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, std::copysign(INFINITY, tie))}) {
      ASSERT_EQ(from(to(near)), reference(format, near)) << bits << " " << near;
      ASSERT_EQ(std::signbit(from(to(near))), std::signbit(near));
    }
  }
  std::mt19937 engine(3);
  for (int i = 0; i < 2'000'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(engine()));
    if (std::isnan(value)) continue;
    ASSERT_EQ(from(to(value)), reference(format, value)) << value;
  }
}

TEST(DType, Bf16RoundsToNearestEvenAtEveryPattern) {
  check_format(
      kBf16, [](uint16_t bits) { return from_bf16(bits); }, [](float value) { return to_bf16(value); });
}

TEST(DType, F16RoundsToNearestEvenAtEveryPattern) { check_format(kF16, from_f16, to_f16); }

TEST(DType, NanStaysNanWhateverItsPayload) {
  for (const uint32_t bits : {0x7f800001u, 0x7fc00000u, 0xff800001u, 0x7fffffffu, 0xffffffffu}) {
    const float nan = std::bit_cast<float>(bits);
    EXPECT_TRUE(std::isnan(from_bf16(to_bf16(nan)))) << bits;
    EXPECT_TRUE(std::isnan(from_f16(to_f16(nan)))) << bits;
  }
  EXPECT_EQ(from_bf16(to_bf16(INFINITY)), INFINITY);
  EXPECT_EQ(from_f16(to_f16(-INFINITY)), -INFINITY);
}

TEST(DType, ADoubleIsRoundedOnceNotTwice) {
  // A float would take this to the tie 1 + 2^-8, and the tie would go down.
  EXPECT_EQ(round_to(DType::bf16, 1 + 0x1p-8 + 0x1p-40), 1 + 0x1p-7);
  EXPECT_EQ(round_to(DType::f16, 1 + 0x1p-11 + 0x1p-50), 1 + 0x1p-10);
  std::mt19937_64 engine(4);
  for (int i = 0; i < 300'000; ++i) {
    const double fine = std::ldexp(static_cast<double>(engine() >> 11), -53) + 1;
    const double tie = reference(kBf16, fine) + 0x1p-8 * (i % 2 == 0 ? 1 : -1);
    const double near_tie = tie + std::ldexp(static_cast<double>(static_cast<int>(engine() % 5)) - 2, -45);
    for (const double value :
         {fine, near_tie, -near_tie, near_tie * 0x1p-20, near_tie * 0x1p-134, near_tie * 0x1p127}) {
      ASSERT_EQ(round_to(DType::bf16, value), reference(kBf16, value)) << value;
      ASSERT_EQ(round_to(DType::f16, value), reference(kF16, value)) << value;
    }
  }
  EXPECT_EQ(round_to(DType::bf16, 1e300), kInf);
  EXPECT_EQ(round_to(DType::f16, -1e300), -kInf);
  EXPECT_TRUE(std::isnan(round_to(DType::bf16, std::nan(""))));
  EXPECT_EQ(round_to(DType::f32, 0.1), 0.1f);
  EXPECT_EQ(round_to(DType::f64, 0.1), 0.1);
}

TEST(DType, NamesGoOutAndComeBack) {
  for (const DType type : {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i8, DType::u8, DType::i32,
                           DType::i64, DType::boolean}) {
    EXPECT_EQ(parse_dtype(name_of(type)), type);
    EXPECT_GT(size_of(type), 0u);
    EXPECT_EQ(is_float(type) + is_integer(type) + (type == DType::boolean), 1);
  }
  EXPECT_EQ(refusal(ErrorKind::user, [] { parse_dtype("float"); }), "unknown element type 'float'");
}

}  // namespace
}  // namespace floe
