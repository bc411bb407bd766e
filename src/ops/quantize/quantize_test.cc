#include "ops/quantize/quantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"
#include "ops/all.h"
#include "tensor/quantize.h"
#include "testing/op_case.h"

namespace floe {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

OpCase absmax_case(CaseInput x, const std::string& per) {
  return {.op = "absmax", .inputs = {std::move(x)}, .attrs = {{"per", per}}, .ulps = 0};
}
OpCase quantize_case(CaseInput x, CaseInput scale) {
  return {.op = "quantize", .inputs = {std::move(x), std::move(scale)}};
}
Tensor floats(Shape shape, const std::vector<float>& values) {
  return Tensor::from_floats(std::move(shape), values);
}

Tensor codes_of(const std::vector<float>& row, float scale) {
  Tensor x = floats({1, static_cast<int64_t>(row.size())}, row);
  return std::move(
      run_kernel(quantize_case(CaseInput::of(std::move(x)), CaseInput::of(Tensor::scalar(scale))))[0]);
}

// Wider than a vector of any target by every remainder.
TEST(Absmax, FindsTheLargestOfTensorRowsAndColumnsAtEveryLength) {
  FLOE_NEEDS_CPU();
  for (const char* per : {"tensor", "row", "column"}) {
    for (int64_t n = 0; n <= 67; ++n) check_kernel(absmax_case(CaseInput::normal({3, n}), per));
    check_kernel(absmax_case(CaseInput::normal({2, 3, 5}), per));
    check_kernel(absmax_case(CaseInput::normal({7}), per));
    check_kernel(absmax_case(CaseInput::normal({0, 5}), per));
    check_kernel(absmax_case(CaseInput::normal({70001, 3}), per));
    check_meaning(absmax_case(CaseInput::normal({2, 3, 5}), per));
  }
}

TEST(Absmax, IsNanWhereThereIsOneAndInfiniteWhereThereIsNone) {
  FLOE_NEEDS_CPU();
  const Tensor x = floats({3, 2}, {1, -kInf, kNan, kInf, 0, -2});
  for (const char* per : {"tensor", "row", "column"})
    check_kernel(absmax_case(CaseInput::of(copy_of(x)), per));
}

TEST(Quantize, GivesTheHeadersCodesForEveryFormOfScaleAndEveryLength) {
  FLOE_NEEDS_CPU();
  for (int64_t n = 1; n <= 67; ++n) {
    for (const Shape& scale : {Shape{}, Shape{3, 1}, Shape{n}})
      check_kernel(quantize_case(CaseInput::normal({3, n}), CaseInput::uniform(scale, 0.003, 0.03)));
  }
  check_kernel(quantize_case(CaseInput::normal({2, 3, 4}), CaseInput::uniform({2, 3, 1}, 0.003, 0.03)));
  check_kernel(quantize_case(CaseInput::normal({0, 4}), CaseInput::uniform({0, 1}, 0.003, 0.03)));
  check_kernel(quantize_case(CaseInput::normal({4, 0}), CaseInput::uniform({}, 0.003, 0.03)));
  check_kernel(quantize_case(CaseInput::normal({70001, 3}), CaseInput::uniform({3}, 0.003, 0.03)));
  check_meaning(quantize_case(CaseInput::normal({30, 40}), CaseInput::uniform({30, 1}, 0.003, 0.03)));
}

// Golden codes with scale 1, wherever in a vector they lie: half to even, and -128 never.
TEST(Quantize, RoundsHalfToEvenAndSaturatesAtMinus127) {
  FLOE_NEEDS_CPU();
  const std::vector<std::pair<float, int>> rows = {
      {0.0f, 0},       {-0.0f, 0},      {0.5f, 0},        {1.5f, 2},       {2.5f, 2},     {-0.5f, 0},
      {-1.5f, -2},     {-2.5f, -2},     {126.5f, 126},    {127.5f, 127},   {128.0f, 127}, {-127.5f, -127},
      {-128.0f, -127}, {32768.0f, 127}, {-32768.f, -127}, {1e30f, 127},    {kInf, 127},   {-kInf, -127},
      {kNan, 0},       {1e-40f, 0},     {0.49999997f, 0}, {0.50000006f, 1}};
  for (size_t shift = 0; shift < 40; ++shift) {
    std::vector<float> x(shift, 3.0f);
    for (const auto& row : rows) x.push_back(row.first);
    const Tensor q = codes_of(x, 1);
    for (size_t i = 0; i < rows.size(); ++i)
      ASSERT_EQ(q.at(static_cast<int64_t>(shift + i)), rows[i].second)
          << rows[i].first << " at " << shift + i;
  }
}

TEST(Quantize, MultipliesByTheReciprocalAsTheHeaderDoes) {
  FLOE_NEEDS_CPU();
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  int differ = 0;
  for (int seed = 0; seed < 1000; ++seed) {
    std::vector<float> x(64);
    float most = 0;
    for (float& value : x) {
      value = normal(random);
      most = std::max(most, std::fabs(value));
    }
    const float scale = scale_for(most);
    const Tensor q = codes_of(x, scale);
    for (int64_t i = 0; i < 64; ++i) {
      const float value = x[static_cast<size_t>(i)];
      ASSERT_EQ(q.at(i), quantized(value, reciprocal(scale)));
      differ += std::nearbyint(value / scale) != q.at(i) ? 1 : 0;
    }
  }
  EXPECT_LT(differ, 64);  // of 64,000: where the two rules part, a division would give another code
}

TEST(Quantize, AScaleThatIsNotFiniteGivesTheCodeZero) {
  FLOE_NEEDS_CPU();
  for (const float scale : {kNan, kInf}) {
    const Tensor q = codes_of({1, -5, 1e30f}, scale);
    for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(q.at(i), 0);
  }
}

TEST(Dequantize, MultipliesCodesByTheirScales) {
  FLOE_NEEDS_CPU();
  for (const Shape& scale : {Shape{}, Shape{5, 1}, Shape{67}}) {
    const OpCase c{
        .op = "dequantize",
        .inputs = {CaseInput::integers({5, 67}, -127, 128, DType::i8), CaseInput::uniform(scale, 1e-3, 1)},
        .ulps = 1};
    check_kernel(c);
    check_meaning(c);
  }
}

TEST(QuantizeRows, GivesEachRowsScaleAndCodes) {
  FLOE_NEEDS_CPU();
  for (int64_t n = 1; n <= 67; ++n)
    check_kernel({.op = "quantize_rows", .inputs = {CaseInput::normal({4, n})}, .ulps = 1});
  check_kernel({.op = "quantize_rows", .inputs = {CaseInput::normal({2, 3, 128})}, .ulps = 1});
  check_kernel({.op = "quantize_rows", .inputs = {CaseInput::normal({0, 128})}, .ulps = 1});
  check_kernel({.op = "quantize_rows", .inputs = {CaseInput::normal({3, 0})}, .ulps = 1});
  check_kernel({.op = "quantize_rows", .inputs = {CaseInput::normal({70001, 2})}, .ulps = 1});
}

std::vector<Tensor> rows_of(Shape shape, const std::vector<float>& values) {
  return run_kernel({.op = "quantize_rows", .inputs = {CaseInput::of(floats(std::move(shape), values))}});
}

TEST(QuantizeRows, AZeroRowHasScaleOneAndCodesZero) {
  FLOE_NEEDS_CPU();
  const std::vector<Tensor> out = rows_of({2, 4}, {0, -0.0f, 0, 0, 1, 2, 3, 4});
  EXPECT_EQ(out[1].at(0), 1);
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(out[0].at(i), 0);
  EXPECT_EQ(out[0].at(7), 127);
}

// The scale of such a row has no finite reciprocal: the guard looks at the scale, not at the data.
TEST(QuantizeRows, ADenormalRowIsZeroAndNotNan) {
  FLOE_NEEDS_CPU();
  const std::vector<Tensor> out = rows_of({2, 3}, {1e-40f, -1e-39f, 1e-38f, 1e-36f, -5e-37f, 0});
  EXPECT_EQ(out[1].at(0), 1);
  EXPECT_EQ(out[0].at(0), 0);
  EXPECT_EQ(out[1].at(1), 1);  // 1e-36 / 127 is below the smallest normal float
  const std::vector<Tensor> least = rows_of({1, 2}, {0x1p-119f, -0x1p-120f});
  EXPECT_EQ(least[1].at(0), 0x1p-119f / 127);
  EXPECT_EQ(least[0].at(0), 127);
  EXPECT_EQ(least[0].at(1), -64);
}

TEST(QuantizeRows, NanAndInfinityStayInTheirRow) {
  FLOE_NEEDS_CPU();
  const std::vector<Tensor> out = rows_of({3, 2}, {1, kNan, -kInf, 2, 3, -3});
  EXPECT_TRUE(std::isnan(out[1].at(0)));
  EXPECT_TRUE(std::isinf(out[1].at(1)));
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(out[0].at(i), 0);
  EXPECT_EQ(out[0].at(4), 127);
  EXPECT_EQ(out[0].at(5), -127);
}

TEST(QuantizeRows, ConstantNegativeAndSingleElementRowsUseTheWholeRange) {
  FLOE_NEEDS_CPU();
  for (const std::vector<float>& x :
       {std::vector<float>{-3, -3, -3}, std::vector<float>{-7}, std::vector<float>{1e30f}}) {
    const std::vector<Tensor> out = rows_of({1, static_cast<int64_t>(x.size())}, x);
    EXPECT_EQ(out[0].at(0), x[0] < 0 ? -127 : 127);
    EXPECT_NEAR(out[1].at(0) * 127, std::fabs(x[0]), std::fabs(x[0]) * 1e-6);
  }
}

TEST(QuantizeRows, DoesNotDependOnThreads) {
  FLOE_NEEDS_CPU();
  OpCase c{.op = "quantize_rows", .inputs = {CaseInput::normal({5000, 33})}, .threads = 1};
  const std::vector<Tensor> one = run_kernel(c);
  c.threads = 5;
  const std::vector<Tensor> many = run_kernel(c);
  for (int64_t i = 0; i < one[0].size(); ++i) ASSERT_EQ(one[0].at(i), many[0].at(i));
}

std::string refusal(const std::string& op, std::vector<Type> types, Attrs attrs = {}) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  Values inputs;
  for (size_t i = 0; i < types.size(); ++i) inputs.push_back(b.input("x" + std::to_string(i), types[i]));
  try {
    b.add_all(op, inputs, std::move(attrs));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Quantize, RefusesWhatItCannotTake) {
  const Type x{DType::f32, {Dim(3), Dim(4)}};
  EXPECT_EQ(refusal("absmax", {x}, {{"per", std::string("block")}}),
            "[absmax] per must be tensor, row or column, is 'block'");
  EXPECT_EQ(
      refusal("quantize", {x, {DType::f32, {Dim(3)}}}),
      "[quantize] the scale must be f32[], f32[..., 1] with the dims of x, or f32[4]; x is f32[3, 4], the "
      "scale f32[3]");
  EXPECT_EQ(refusal("dequantize", {x, {DType::f32, {}}}), "[dequantize] codes must be i8, got f32[3, 4]");
  EXPECT_EQ(refusal("quantize_rows", {{DType::f32, {}}}), "[quantize_rows] needs a last dim, got f32[]");
}

TEST(QuantizeMatrix, KeepsEachRowWithinHalfAStep) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> values(40 * 30);
  for (float& x : values) x = normal(random);
  const Tensor matrix = floats({40, 30}, values);
  const QuantizedMatrix q = quantize_rows(matrix, "w");
  const Tensor back = dequantize_rows(q.codes, q.scales);
  for (int64_t i = 0; i < matrix.size(); ++i) {
    // Half a step, and the roundings of reciprocal, product and result: three of 2^-24 of 127 steps.
    ASSERT_NEAR(back.at(i), matrix.at(i), q.scales.at(i / 30) * (0.5 + 127 * 3 * 0x1p-24));
  }
}

TEST(QuantizeMatrix, RefusesWhatIsNotFinite) {
  try {
    quantize_rows(floats({2, 2}, {1, 2, 3, kNan}), "encoder.0.weight");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), "'encoder.0.weight' holds nan in row 1: it cannot be INT8");
  }
}

}  // namespace
}  // namespace floe
