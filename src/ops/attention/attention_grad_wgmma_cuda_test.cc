// The gradient of attention on sm_90's tensor cores: sizes that it takes (more than 128 keys, 64 queries or
// more, with lengths 512 of both; features 33 to 128; no dropout).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "device/cuda/current_device.h"
#include "ops/attention/attention_cuda_cases_for_test.h"
#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

#define FLOE_NEEDS_HOPPER() \
  FLOE_NEEDS_CUDA();        \
  if (!device_is_sm90()) GTEST_SKIP() << "needs a GPU of compute capability 9.0"

void check_gradient_of(const CudaSizes& s) { check(s, backward(forward(s))); }

TEST(AttentionGradWgmma, HasTheReferencesValuesForEveryTileAndTail) {
  FLOE_NEEDS_HOPPER();
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const int64_t width : {64, 128}) {
      for (const auto& [queries, keys] : std::vector<std::pair<int64_t, int64_t>>{{64, 129},
                                                                                  {65, 255},
                                                                                  {128, 256},
                                                                                  {127, 257},
                                                                                  {200, 203},
                                                                                  {256, 384},
                                                                                  {385, 131},
                                                                                  {512, 512}}) {
        check_gradient_of({.batch = 1,
                           .queries = queries,
                           .keys = keys,
                           .width = width,
                           .value_width = width,
                           .dtype = dtype});
      }
    }
  }
}

TEST(AttentionGradWgmma, KnowsEveryMask) {
  FLOE_NEEDS_HOPPER();
  for (const int64_t width : {64, 128}) {
    for (const char* causal : {"none", "top_left", "bottom_right"}) {
      for (const auto& [queries, keys] : std::vector<std::pair<int64_t, int64_t>>{
               {113, 203}, {203, 140}, {300, 300}, {700, 150}, {64, 500}}) {
        CudaSizes s{.queries = queries,
                    .keys = keys,
                    .heads = 2,
                    .width = width,
                    .value_width = width,
                    .causal = causal};
        check_gradient_of(s);
      }
      for (const auto& [queries, keys] : std::vector<std::pair<int64_t, int64_t>>{{513, 600}, {650, 512}}) {
        check_gradient_of({.batch = 4,
                           .queries = queries,
                           .keys = keys,
                           .heads = 1,
                           .key_heads = 1,
                           .width = width,
                           .value_width = width,
                           .causal = causal,
                           .lengths = {static_cast<int32_t>(keys), 0, 1, 333}});
      }
    }
  }
}

TEST(AttentionGradWgmma, TakesFeaturesThatDoNotFillATile) {
  FLOE_NEEDS_HOPPER();
  for (const auto& [width, value_width] : std::vector<std::pair<int64_t, int64_t>>{
           {40, 40}, {64, 40}, {8, 64}, {72, 72}, {128, 64}, {96, 120}}) {
    check_gradient_of({.queries = 130, .keys = 270, .width = width, .value_width = value_width});
  }
}

TEST(AttentionGradWgmma, SumsKeysOverTheHeadsThatShareThem) {
  FLOE_NEEDS_HOPPER();
  for (const int64_t width : {64, 128}) {
    for (const char* causal : {"none", "top_left", "bottom_right"}) {
      check_gradient_of({.queries = 150,
                         .keys = 290,
                         .heads = 6,
                         .key_heads = 2,
                         .width = width,
                         .value_width = width,
                         .causal = causal});
    }
  }
}

// More heads than slots for dq, which then go round.
TEST(AttentionGradWgmma, UsesSlotsAgain) {
  FLOE_NEEDS_HOPPER();
  for (const char* causal : {"none", "top_left"}) {
    check_gradient_of(
        {.batch = 60, .queries = 70, .keys = 260, .heads = 8, .key_heads = 8, .causal = causal});
  }
  // Heads between that need no slot.
  CudaSizes s{
      .batch = 40, .queries = 512, .keys = 512, .heads = 3, .key_heads = 3, .width = 40, .value_width = 40};
  for (int i = 0; i < 40; ++i) s.lengths.push_back(i % 3 == 0 ? 512 : (i % 3 == 1 ? 100 : 0));
  check_gradient_of(s);
}

TEST(AttentionGradWgmma, HasTheReferencesValuesForALongSequence) {
  FLOE_NEEDS_HOPPER();
  for (const int64_t width : {64, 128}) {
    for (const char* causal : {"none", "top_left"}) {
      check_gradient_of({.batch = 1,
                         .queries = 1500,
                         .keys = 1500,
                         .heads = 1,
                         .key_heads = 1,
                         .width = width,
                         .value_width = width,
                         .causal = causal});
    }
  }
}

// Sums have one order, however blocks of keys come to run.
TEST(AttentionGradWgmma, GivesTheSameBitsEveryTime) {
  FLOE_NEEDS_HOPPER();
  for (const int64_t width : {64, 128}) {
    for (const char* causal : {"none", "top_left"}) {
      const OpCase c = backward(forward(CudaSizes{.batch = 1,
                                                  .queries = 1100,
                                                  .keys = 1100,
                                                  .width = width,
                                                  .value_width = width,
                                                  .causal = causal}));
      const std::vector<Tensor> want = run_kernel(c);
      for (int round = 0; round < 20; ++round) {
        const std::vector<Tensor> got = run_kernel(c);
        for (size_t i = 0; i < want.size(); ++i) {
          ASSERT_EQ(std::memcmp(got[i].data(), want[i].data(), want[i].bytes()), 0)
              << causal << ", result " << i << ", round " << round;
        }
      }
    }
  }
}

// A row of the batch has its own bits, whatever lies beside it and however far it is padded.
TEST(AttentionGradWgmma, GivesARowTheSameBitsHoweverItIsPadded) {
  FLOE_NEEDS_HOPPER();
  for (const char* causal : {"none", "top_left"}) {
    constexpr int64_t kLength = 540, kLonger = 800, kWidth = 64, kHeads = 2;
    const OpCase c = backward(forward(
        CudaSizes{.batch = 1, .queries = kLength, .keys = kLength, .causal = causal, .lengths = {kLength}}));
    const std::vector<RefTensor> x = case_inputs(c);
    const std::vector<Tensor> want = run_kernel(c);
    // Row 1 of two; row 0 is of other values and full length.
    OpCase padded = backward(forward(CudaSizes{
        .batch = 2, .queries = kLonger, .keys = kLonger, .causal = causal, .lengths = {kLonger, kLength}}));
    const std::vector<RefTensor> filling = case_inputs(padded);
    for (size_t i = 0; i < 6; ++i) {
      RefTensor y = filling[i];
      const auto half = static_cast<std::ptrdiff_t>(y.f.size() / 2);
      std::fill(y.f.begin() + half, y.f.end(), 0);
      if (i == 4) {
        for (int64_t h = 0; h < kHeads; ++h) {
          std::copy_n(x[i].f.begin() + h * kLength, kLength, y.f.begin() + half + h * kLonger);
        }
      } else {
        std::copy(x[i].f.begin(), x[i].f.end(), y.f.begin() + half);
      }
      padded.inputs[i] = CaseInput::of(tensor_of(y));
    }
    const std::vector<Tensor> got = run_kernel(padded);
    for (size_t i = 0; i < want.size(); ++i) {
      const char* row = static_cast<const char*>(got[i].data()) + kLonger * kHeads * kWidth * 2;
      EXPECT_EQ(std::memcmp(row, want[i].data(), want[i].bytes()), 0) << causal << ", result " << i;
    }
  }
}

TEST(AttentionGradWgmma, GivesExactZerosToWhatSeesNothing) {
  FLOE_NEEDS_HOPPER();
  // Bottom-right with more queries than keys: the first 260 queries see none; of row 1 no key exists.
  for (const int64_t width : {64, 128}) {
    const CudaSizes s{.queries = 780,
                      .keys = 520,
                      .width = width,
                      .value_width = width,
                      .causal = "bottom_right",
                      .lengths = {520, 0}};
    const std::vector<Tensor> got = run_kernel(backward(forward(s)));
    const int64_t row = 2 * width;
    for (int64_t i = 0; i < got[0].size(); ++i) {
      if (i < 260 * row || i >= 780 * row) {
        ASSERT_EQ(got[0].at(i), 0) << i;
      }
    }
    for (size_t k : {1, 2}) {
      for (int64_t i = 520 * row; i < got[k].size(); ++i) ASSERT_EQ(got[k].at(i), 0) << i;
    }
  }
}

// Keys and values that do not exist, as NaN: no bit changes, but for those beyond another's reach.
TEST(AttentionGradWgmma, DoesNotReadKeysBeyondLengths) {
  FLOE_NEEDS_HOPPER();
  for (const int64_t width : {64, 128}) {
    for (const int32_t length : {25, 128, 150, 511}) {
      const OpCase c = backward(forward(CudaSizes{.batch = 1,
                                                  .queries = 512,
                                                  .keys = 512,
                                                  .width = width,
                                                  .value_width = width,
                                                  .lengths = {length}}));
      const std::vector<Tensor> want = run_kernel(c);
      OpCase spoilt = c;
      for (const size_t i : {1, 2}) {
        RefTensor x = case_inputs(c)[i];
        std::fill(x.f.begin() + length * 2 * width, x.f.end(), std::numeric_limits<double>::quiet_NaN());
        spoilt.inputs[i] = CaseInput::of(tensor_of(x));
      }
      const std::vector<Tensor> got = run_kernel(spoilt);
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_EQ(std::memcmp(got[i].data(), want[i].data(), want[i].bytes()), 0) << "result " << i;
      }
    }
  }
}

TEST(AttentionGradWgmma, PassesNanOn) {
  FLOE_NEEDS_HOPPER();
  OpCase c = backward(forward(CudaSizes{.queries = 140, .keys = 200}));
  RefTensor dout = case_inputs(c)[5];
  const int64_t query = (140 + 3) * 2;  // row 1, query 3, head 0
  dout.f[static_cast<size_t>(query * 64 + 5)] = std::numeric_limits<double>::quiet_NaN();
  c.inputs[5] = CaseInput::of(tensor_of(dout));
  const std::vector<Tensor> got = run_kernel(c);
  for (int64_t i = 0; i < got[0].size(); ++i) ASSERT_EQ(std::isnan(got[0].at(i)), i / 64 == query) << i;
  for (int64_t i = 0; i < got[1].size(); ++i) {
    ASSERT_EQ(std::isnan(got[1].at(i)), i >= 200 * 2 * 64 && i / 64 % 2 == 0) << i;
  }
}

// Scores of -120 in base e: lse is below the smallest exponent of a float, p is not.
TEST(AttentionGradWgmma, SurvivesVeryNegativeScores) {
  FLOE_NEEDS_HOPPER();
  for (const int64_t rows : {192, 320, 333, 704}) {
    const CudaSizes s{.batch = 1, .queries = rows, .keys = rows, .heads = 1, .key_heads = 1};
    OpCase c = forward(s);
    for (const size_t i : {0, 1}) {
      RefTensor x = case_inputs(c)[i];
      for (size_t at = 0; at < x.f.size(); ++at) x.f[at] *= 0.125;
      for (size_t at = 0; at < x.f.size(); at += 64) x.f[at] = i == 0 ? 1 : -120 * 8;
      c.inputs[i] = CaseInput::of(tensor_of(x));
    }
    check(s, backward(c));
  }
}

// All keys equal, every p 1 / 200: what is rounded does not lean to one side.
TEST(AttentionGradWgmma, HasNoBiasWhereProbabilitiesRepeat) {
  FLOE_NEEDS_HOPPER();
  const CudaSizes s{.batch = 1, .queries = 256, .keys = 200, .heads = 2};
  OpCase c = forward(s);
  RefTensor k = case_inputs(c)[1];
  for (size_t i = 0; i < k.f.size(); ++i) k.f[i] = k.f[i % 64];
  c.inputs[1] = CaseInput::of(tensor_of(k));
  c = backward(c);
  check(s, c);
  const std::vector<RefTensor> want = reference(c);
  const std::vector<Tensor> got = run_kernel(c);
  double error = 0, squares = 0;
  for (int64_t i = 0; i < got[2].size(); ++i) {
    const double x = got[2].at(i) - want[2].f[static_cast<size_t>(i)];
    error += x;
    squares += x * x;
  }
  // Keys are equal and so are their errors: 128 columns are independent, each 200 times. Five deviations.
  EXPECT_LE(std::fabs(error), 5 * std::sqrt(squares * 200));
}

TEST(AttentionGradWgmma, WritesIntoSlicesOfAMergedGradient) {
  FLOE_NEEDS_HOPPER();
  for (const int64_t width : {64, 128, 96}) {
    for (const char* causal : {"none", "top_left"}) {
      expect_slices_hold_the_same(backward(forward(CudaSizes{.queries = 533,
                                                             .keys = 533,
                                                             .width = width,
                                                             .value_width = width,
                                                             .causal = causal,
                                                             .lengths = {533, 150}})));
    }
  }
}

}  // namespace
}  // namespace floe
