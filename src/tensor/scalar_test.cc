#include "tensor/scalar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double floats(ScalarOp op, double a, double b = 0) {
  return apply({.op = op, .type = DType::f64}, {.f = a}, {.f = b}, {}, DType::f64).f;
}

int64_t ints(ScalarOp op, DType type, int64_t a, int64_t b = 0) {
  return apply({.op = op, .type = type}, {.i = a}, {.i = b}, {}, type).i;
}

TEST(Scalar, EveryOpHasARowUnderItsOwnName) {
  for (int k = 0; k <= static_cast<int>(ScalarOp::uniform); ++k) {
    const auto op = static_cast<ScalarOp>(k);
    ScalarOp found = ScalarOp::input;
    ASSERT_TRUE(find_scalar_op(info_of(op).name, &found));
    EXPECT_EQ(found, op) << info_of(op).name;
  }
  ScalarOp unused = ScalarOp::input;
  EXPECT_FALSE(find_scalar_op("gelu", &unused));
}

TEST(Scalar, FloatsFollowTheLibraryAndNanSpreads) {
  EXPECT_EQ(floats(ScalarOp::sub, 5, 7), -2);
  EXPECT_EQ(floats(ScalarOp::div, 1, 0), INFINITY);
  EXPECT_EQ(floats(ScalarOp::erf, 0.5), std::erf(0.5));
  EXPECT_EQ(floats(ScalarOp::pow, 2, 10), 1024);
  EXPECT_EQ(floats(ScalarOp::round, 2.5), 2);
  EXPECT_EQ(floats(ScalarOp::round, 3.5), 4);
  EXPECT_EQ(floats(ScalarOp::round, -0.5), 0);
  EXPECT_EQ(floats(ScalarOp::floor, -1.5), -2);
  for (const ScalarOp op : {ScalarOp::max, ScalarOp::min}) {
    EXPECT_TRUE(std::isnan(floats(op, kNan, 1)));
    EXPECT_TRUE(std::isnan(floats(op, 1, kNan)));
  }
  EXPECT_EQ(floats(ScalarOp::max, -INFINITY, 1), 1);
  EXPECT_TRUE(std::isnan(floats(ScalarOp::sqrt, -1)));
}

// The answers are Python's.
TEST(Scalar, FloorDivisionAndRemainderOfFloatsAreAsInPython) {
  const double cases[][4] = {
      {7, 2, 3, 1},     {-7, 2, -4, 1},     {7, -2, -4, -1},     {-7, -2, 3, -1},
      {5.5, 2, 2, 1.5}, {-0.5, 1, -1, 0.5}, {1, INFINITY, 0, 1}, {-1, INFINITY, -1, INFINITY}};
  for (const auto& [a, b, quotient, rest] : cases) {
    EXPECT_EQ(floats(ScalarOp::floordiv, a, b), quotient) << a << " // " << b;
    EXPECT_EQ(floats(ScalarOp::rem, a, b), rest) << a << " % " << b;
  }
  EXPECT_TRUE(std::signbit(floats(ScalarOp::rem, 4, -2)));
  EXPECT_TRUE(std::isnan(floats(ScalarOp::floordiv, 0, 0)));
  EXPECT_TRUE(std::isnan(floats(ScalarOp::rem, 1, 0)));
}

TEST(Scalar, IntegersWrapToTheirType) {
  EXPECT_EQ(ints(ScalarOp::add, DType::i8, 127, 1), -128);
  EXPECT_EQ(ints(ScalarOp::sub, DType::u8, 0, 1), 255);
  EXPECT_EQ(ints(ScalarOp::mul, DType::i32, 65536, 65536), 0);
  EXPECT_EQ(ints(ScalarOp::add, DType::i64, INT64_MAX, 1), INT64_MIN);
  EXPECT_EQ(ints(ScalarOp::neg, DType::i64, INT64_MIN), INT64_MIN);
  EXPECT_EQ(ints(ScalarOp::abs, DType::i8, -128), -128);
}

TEST(Scalar, IntegerDivisionRoundsDownAndZeroIsRefused) {
  const int64_t cases[][4] = {{7, 2, 3, 1}, {-7, 2, -4, 1}, {7, -2, -4, -1}, {-7, -2, 3, -1}, {6, -3, -2, 0}};
  for (const auto& [a, b, quotient, rest] : cases) {
    EXPECT_EQ(ints(ScalarOp::floordiv, DType::i64, a, b), quotient);
    EXPECT_EQ(ints(ScalarOp::rem, DType::i64, a, b), rest);
  }
  EXPECT_EQ(ints(ScalarOp::floordiv, DType::i64, INT64_MIN, -1), INT64_MIN);
  EXPECT_EQ(ints(ScalarOp::rem, DType::i64, INT64_MIN, -1), 0);
  for (const ScalarOp op : {ScalarOp::floordiv, ScalarOp::rem}) {
    EXPECT_EQ(refusal(ErrorKind::user, [&] { ints(op, DType::i32, 1, 0); }), "integer division by zero");
  }
}

TEST(Scalar, AnOpOnTheWrongKindOfNumberIsABug) {
  EXPECT_THAT(refusal(ErrorKind::bug, [] { ints(ScalarOp::exp, DType::i32, 1); }),
              HasSubstr("'exp' on integers"));
  EXPECT_THAT(refusal(ErrorKind::bug, [] { floats(ScalarOp::logical_and, 1, 1); }),
              HasSubstr("'logical_and' on floats"));
}

TEST(Scalar, ComparisonsGiveZeroOrOneAndNanIsUnequalToAll) {
  const auto compare = [](ScalarOp op, double a, double b) {
    return apply({.op = op, .type = DType::boolean}, {.f = a}, {.f = b}, {}, DType::f32).i;
  };
  EXPECT_EQ(compare(ScalarOp::lt, 1, 2), 1);
  EXPECT_EQ(compare(ScalarOp::le, 2, 2), 1);
  EXPECT_EQ(compare(ScalarOp::eq, 0.0, -0.0), 1);
  EXPECT_EQ(compare(ScalarOp::eq, kNan, kNan), 0);
  EXPECT_EQ(compare(ScalarOp::ne, kNan, kNan), 1);
  EXPECT_EQ(compare(ScalarOp::le, kNan, 1), 0);
  // Numbers that a double could not tell apart.
  EXPECT_EQ(ints(ScalarOp::eq, DType::i64, INT64_MAX, INT64_MAX - 1), 0);
}

TEST(Scalar, SelectTakesOneBranchWhole) {
  const ScalarInstr select{.op = ScalarOp::select, .type = DType::f32};
  EXPECT_EQ(apply(select, {.i = 1}, {.f = 2}, {.f = kNan}, DType::f32).f, 2);
  EXPECT_EQ(apply(select, {.i = 0}, {.f = kNan}, {.f = 3}, DType::f32).f, 3);
}

TEST(Scalar, CastsRoundTruncateAndNeverHaveUndefinedResults) {
  const auto to = [](DType type, double value) {
    return apply({.op = ScalarOp::cast, .type = type}, {.f = value}, {}, {}, DType::f64);
  };
  EXPECT_EQ(to(DType::bf16, 1 + 0x1p-9).f, 1);
  EXPECT_EQ(to(DType::i32, -2.9).i, -2);
  EXPECT_EQ(to(DType::i64, 1e300).i, 9223372036854774784);
  EXPECT_EQ(to(DType::i64, -INFINITY).i, INT64_MIN);
  EXPECT_EQ(to(DType::i32, kNan).i, 0);
  EXPECT_EQ(to(DType::boolean, kNan).i, 1);
  EXPECT_EQ(to(DType::boolean, -0.0).i, 0);
  const auto from_int = [](DType type, int64_t value) {
    return apply({.op = ScalarOp::cast, .type = type}, {.i = value}, {}, {}, DType::i64);
  };
  EXPECT_EQ(from_int(DType::u8, 257).i, 1);
  EXPECT_EQ(from_int(DType::boolean, 256).i, 1);
  EXPECT_EQ(from_int(DType::f32, -3).f, -3);
}

TEST(Scalar, ATapeIsWrittenAsAFormulaAndPrintsAsCode) {
  TapeBuilder builder(2);
  const ScalarExpr x = builder.input(0);
  // One call a line: the order of a call's arguments is the compiler's choice, and the tape would follow it.
  const ScalarExpr condition = less(x, builder.input(1));
  const ScalarExpr twice = 2.0 * x;
  const ScalarExpr other = exp(-x);
  builder.result(select(condition, twice, other));
  const Tape tape = builder.take();
  EXPECT_EQ(text_of(tape),
            "r0 = input 0 : f32\n"
            "r1 = input 1 : f32\n"
            "r2 = lt r0, r1 : bool\n"
            "r3 = constant 2 : f32\n"
            "r4 = mul r3, r0 : f32\n"
            "r5 = neg r0 : f32\n"
            "r6 = exp r5 : f32\n"
            "r7 = select r2, r4, r6 : f32\n"
            "out r7\n");
}

}  // namespace
}  // namespace floe
