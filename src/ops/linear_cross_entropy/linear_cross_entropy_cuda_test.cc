// What only the GPU's kernels have: bf16 operands and logits, several chunks with a shorter last one, classes
// and features of odd numbers, targets that are no class.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "testing/op_case.h"

namespace floe {
namespace {

constexpr int64_t kIgnore = 0;
constexpr const char* kOps[] = {"linear_cross_entropy", "linear_cross_entropy_grad"};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Sizes {
  int64_t rows, d, classes;
  bool bias = false;
  double smoothing = 0;
};

OpCase case_of(const char* op, DType type, const Sizes& s) {
  OpCase c{
      .op = op,
      .inputs = {CaseInput::normal({s.rows, s.d}, type), CaseInput::uniform({s.classes, s.d}, -0.25, 0.25),
                 CaseInput::integers({s.rows}, 0, s.classes)},
      .attrs = {{"label_smoothing", s.smoothing}, {"ignore_index", kIgnore}, {"bias", s.bias}}};
  c.inputs[1].dtype = type;
  if (s.bias) {
    c.inputs.push_back(CaseInput::uniform({s.classes}, -0.5, 0.5));
    c.inputs.back().dtype = type;
  }
  // As on the CPU: each logit is a sum of d terms; gradients sum over rows or over classes.
  const int64_t units = 64 + s.d + s.classes / 8 + s.rows / 8;
  c.ulps = static_cast<double>(units);
  return c;
}

// Logits have a variance of d / 48 and a bias of 0.5 at most, so none exceeds L = 6 sqrt(d / 48) + 0.5; to
// bf16 they are rounded by 2^-8 L at most, and the log-sum-exp errs by no more. In units of 2^-8, of 2^-23
// for sums:
//   sums      a position's nll errs by 2 L, and its mean is 1 or more
//   dx        a sum over classes of p 2 L |w| with |w| <= 0.25 and p that add up to 1: L / 2, of an rms of
//   0.1
//             or more (the target's weights alone: 0.14 times 1 - p). g and the result are rounded
//   dweight,  one row gives a class p x with an error of 2 L of itself. Rows' errors are independent, with a
//   dbias     deviation below p L: for many rows that is L / sqrt(V) of the rms, which the rows have that hit
//             the class; six deviations. g and the result are rounded
struct Bounds {
  double sums, dx, dweight;
};
Bounds bounds_of(const Sizes& s) {
  const double most = 6 * std::sqrt(static_cast<double>(s.d) / 48) + 0.5;
  return {std::ldexp(most, 16), 2 + most / 2 / 0.1,
          2 + most * (2 + 6 / std::sqrt(static_cast<double>(s.classes)))};
}

void check_bf16(const Sizes& s) {
  SCOPED_TRACE(
      fmt::format("{} rows, {} features, {} classes{}", s.rows, s.d, s.classes, s.bias ? ", bias" : ""));
  const Bounds bounds = bounds_of(s);
  for (const char* op : kOps) {
    OpCase c = case_of(op, DType::bf16, s);
    c.ulps = bounds.sums;
    check_kernel(c);  // guards, equal bits of two runs
    const std::vector<Tensor> got = run_kernel(c);
    const std::vector<RefTensor> want = reference(c);
    ASSERT_EQ(got.size(), want.size());
    EXPECT_EQ(got[2].at(0), want[2].f[0]) << "tokens";
    if (got.size() == 3) continue;
    expect_close(got[3], want[3], bounds.dx, "dx");
    expect_close(got[4], want[4], bounds.dweight, "dweight");
    if (s.bias) expect_close(got[5], want[5], bounds.dweight, "dbias");
  }
}

TEST(LinearCrossEntropyCuda, Bf16SumsAndGradients) {
  FLOE_NEEDS_CUDA();
  check_bf16({40, 16, 64});
  check_bf16({40, 16, 64, true, 0.1});
  check_bf16({37, 20, 101, true, 0.1});
  check_bf16({64, 7, 9});
  check_bf16({300, 24, 1000, true});
  check_bf16({24, 8, 30011, true, 0.1});  // a block goes over a row in several steps
  check_bf16({24, 8, 30016, true, 0.1});
}

TEST(LinearCrossEntropyCuda, AddsChunksUp) {
  FLOE_NEEDS_CUDA();
  for (const bool bias : {false, true}) {
    check_bf16({4096, 8, 16, bias, 0.1});
    check_bf16({4097, 8, 16, bias});  // one whole chunk and a row
    check_bf16({9000, 9, 11, bias, 0.1});
    for (const char* op : kOps) {
      check_kernel(case_of(op, DType::f32, {4097, 8, 16, bias, 0.1}));
      check_kernel(case_of(op, DType::f32, {9000, 9, 11, bias}));
    }
  }
}

TEST(LinearCrossEntropyCuda, Bf16WithoutRowsOrWithIgnoredOnesOnly) {
  FLOE_NEEDS_CUDA();
  for (const char* op : kOps) {
    check_kernel(case_of(op, DType::bf16, {0, 7, 11, true, 0.1}));
    for (const int64_t rows : {6, 5000}) {
      OpCase c = case_of(op, DType::bf16, {rows, 7, 11, true, 0.1});
      c.inputs[2] = CaseInput::of(Tensor(DType::i32, {rows}));
      check_kernel(c);
    }
  }
}

TEST(LinearCrossEntropyCuda, ABiasAloneGivesTheLogitsOfNoFeatures) {
  FLOE_NEEDS_CUDA();
  for (const char* op : kOps) check_kernel(case_of(op, DType::f32, {5, 0, 12, true, 0.1}));
}

TEST(LinearCrossEntropyCuda, Bf16DoesNotReadIgnoredRows) {
  FLOE_NEEDS_CUDA();
  for (const int64_t d : {8, 3}) {
    Tensor x(DType::bf16, {4, d}), targets(DType::i32, {4});
    for (int64_t i = 0; i < x.size(); ++i) x.set(i, i / d == 1 ? kNan : 0.25 * static_cast<double>(i % 5));
    for (const int64_t row : {0, 2, 3}) targets.set(row, static_cast<double>(row + 1));
    OpCase c = case_of("linear_cross_entropy_grad", DType::bf16, {4, d, 16, true});
    c.inputs[0] = CaseInput::of(std::move(x));
    c.inputs[2] = CaseInput::of(std::move(targets));
    for (const Tensor& result : run_kernel(c)) {
      for (int64_t i = 0; i < result.size(); ++i) EXPECT_TRUE(std::isfinite(result.at(i)));
    }
  }
}

// The CPU names the target and throws.
TEST(LinearCrossEntropyCuda, ATargetThatIsNoClassGivesNan) {
  FLOE_NEEDS_CUDA();
  for (const DType type : {DType::f32, DType::bf16}) {
    for (const int32_t bad : {-1, 5, 2147483647}) {
      for (const char* op : kOps) {
        OpCase c = case_of(op, type, {3, 2, 5});
        c.inputs[2] = CaseInput::of(Tensor::from_ints({3}, {1, bad, 4}));
        const std::vector<Tensor> got = run_kernel(c);
        EXPECT_TRUE(std::isnan(got[0].at(0)));
        EXPECT_TRUE(std::isnan(got[1].at(0)));
        EXPECT_EQ(got[2].at(0), 3);
        if (got.size() == 3) continue;
        for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(std::isnan(got[3].at(i)), i / 2 == 1) << i;
      }
    }
  }
}

}  // namespace
}  // namespace floe
