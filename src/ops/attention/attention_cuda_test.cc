// What only the GPU's kernels have: 2-byte types on tensor cores, tiles and their edges, many heads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "ops/attention/attention.h"
#include "ops/attention/attention_cuda_cases_for_test.h"
#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

using Sizes = CudaSizes;

TEST(AttentionCuda, HasTheReferencesValuesOnEveryTile) {
  FLOE_NEEDS_CUDA();
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const int64_t width : {32, 64, 128, 256}) {
      for (const auto& [queries, keys] : std::vector<std::pair<int64_t, int64_t>>{
               {1, 1}, {24, 24}, {32, 33}, {33, 32}, {64, 64}, {65, 63}, {70, 128}, {129, 129}, {16, 200}}) {
        check_both({.batch = 1,
                    .queries = queries,
                    .keys = keys,
                    .width = width,
                    .value_width = width,
                    .dtype = dtype});
      }
    }
  }
}

TEST(AttentionCuda, TakesSizesThatAreNoMultiplesOfATile) {
  FLOE_NEEDS_CUDA();
  for (const auto& [width, value_width] : std::vector<std::pair<int64_t, int64_t>>{
           {8, 8}, {24, 40}, {72, 64}, {64, 72}, {96, 200}, {13, 7}, {64, 65}, {1, 1}, {264, 300}}) {
    check_both(
        {.queries = 37, .keys = 83, .heads = 3, .key_heads = 1, .width = width, .value_width = value_width});
  }
}

TEST(AttentionCuda, KnowsEveryMask) {
  FLOE_NEEDS_CUDA();
  for (const int64_t width : {64, 128, 256}) {
    for (const char* causal : {"none", "top_left", "bottom_right"}) {
      for (const double dropout : {0.0, 0.3}) {
        check_both({.queries = 70,
                    .keys = 200,
                    .width = width,
                    .value_width = 32,
                    .causal = causal,
                    .lengths = {200, 131},
                    .dropout = dropout});
        check_both({.queries = 200,
                    .keys = 70,
                    .width = width,
                    .value_width = width,
                    .causal = causal,
                    .dropout = dropout});
        check_both({.batch = 3,
                    .queries = 31,
                    .keys = 31,
                    .heads = 4,
                    .key_heads = 2,
                    .width = width,
                    .value_width = width,
                    .causal = causal,
                    .lengths = {31, 0, 17},
                    .dropout = dropout});
      }
    }
  }
}

TEST(AttentionCuda, TakesSizesOfNothing) {
  FLOE_NEEDS_CUDA();
  for (const Sizes& s : std::vector<Sizes>{{.batch = 0},
                                           {.queries = 0},
                                           {.keys = 0},
                                           {.width = 0},
                                           {.value_width = 0},
                                           {.width = 0, .value_width = 0}}) {
    check_both(s);
  }
}

TEST(AttentionCuda, SharesKeysAmongHeads) {
  FLOE_NEEDS_CUDA();
  check_both(
      {.queries = 40, .keys = 50, .heads = 8, .key_heads = 1, .causal = "bottom_right", .dropout = 0.2});
  check_both({.queries = 70, .keys = 150, .heads = 6, .key_heads = 3, .causal = "top_left", .dropout = 0.2});
}

TEST(AttentionCuda, TakesMoreThan65535Heads) {
  FLOE_NEEDS_CUDA();
  check_both(
      {.batch = 8200, .queries = 2, .keys = 3, .heads = 8, .key_heads = 8, .width = 8, .value_width = 8});
  Sizes s{.batch = 8200, .queries = 1, .keys = 2, .heads = 8, .key_heads = 8, .width = 4, .value_width = 4};
  s.dtype = DType::f32;
  check_kernel(forward(s));
}

// In f32 the masks show as they are: a dropped probability where the reference keeps it would be off by
// itself.
TEST(AttentionCuda, DropsTheReferencesElements) {
  FLOE_NEEDS_CUDA();
  for (const double rate : {0.1, 0.5, 0.9}) {
    OpCase c = forward(CudaSizes{
        .queries = 70, .keys = 131, .width = 16, .value_width = 8, .dropout = rate, .dtype = DType::f32});
    c.ulps = 64;
    check_kernel(c);
  }
}

// A batch row's bits depend neither on the rows beside it nor on how far it is padded.
TEST(AttentionCuda, GivesARowTheSameBitsHoweverItIsPadded) {
  FLOE_NEEDS_CUDA();
  for (const int64_t length : {20, 50, 90}) {
    const Sizes tight{.batch = 1,
                      .queries = length,
                      .keys = length,
                      .causal = "top_left",
                      .lengths = {static_cast<int32_t>(length)},
                      .dropout = 0.2};
    OpCase c = forward(tight);
    for (int pass = 0; pass < 2; ++pass) {
      const std::vector<RefTensor> inputs = case_inputs(c);
      const std::vector<Tensor> want = run_kernel(c);
      OpCase padded = c;
      constexpr int64_t kLonger = 150;
      const size_t tensors = pass == 0 ? 3 : 6;
      for (size_t i = 0; i < tensors; ++i) {
        RefTensor longer = inputs[i];
        const int64_t axis = longer.shape.size() == 3 ? 2 : 1;  // of lse [1, H, Sq]
        longer.shape[static_cast<size_t>(axis)] = kLonger;
        longer.f.assign(static_cast<size_t>(count(longer.shape)), 0);
        const int64_t row = axis == 1 ? longer.shape[2] * longer.shape[3] : 1;
        const int64_t outer = axis == 1 ? 1 : longer.shape[1];
        for (int64_t o = 0; o < outer; ++o) {
          std::copy_n(inputs[i].f.begin() + o * length * row, length * row,
                      longer.f.begin() + o * kLonger * row);
        }
        padded.inputs[i] = CaseInput::of(tensor_of(longer));
      }
      const std::vector<Tensor> got = run_kernel(padded);
      for (size_t i = 0; i < want.size(); ++i) {
        if (want[i].dtype() == DType::f32) continue;  // lse, whose rows lie by heads; out says as much
        EXPECT_EQ(std::memcmp(got[i].data(), want[i].data(), want[i].bytes()), 0)
            << c.op << " result " << i << ", " << length;
      }
      c = backward(c);
    }
  }
}

TEST(AttentionCuda, GivesExactZerosToARowWithoutKeys) {
  FLOE_NEEDS_CUDA();
  for (const int64_t keys : {40, 200}) {
    const OpCase c =
        forward(CudaSizes{.queries = 33, .keys = keys, .lengths = {0, static_cast<int32_t>(keys)}});
    const std::vector<Tensor> out = run_kernel(c);
    for (int64_t i = 0; i < out[0].size() / 2; ++i) ASSERT_EQ(out[0].at(i), 0);
    for (int64_t i = 0; i < out[1].size() / 2; ++i)
      ASSERT_EQ(out[1].at(i), -std::numeric_limits<double>::infinity());
    for (const Tensor& gradient : run_kernel(backward(c))) {
      for (int64_t i = 0; i < gradient.size(); ++i) {
        ASSERT_TRUE(std::isfinite(gradient.at(i)));
        if (i < gradient.size() / 2) {
          ASSERT_EQ(gradient.at(i), 0);
        }
      }
    }
  }
}

TEST(AttentionCuda, DoesNotReadKeysBeyondLengths) {
  FLOE_NEEDS_CUDA();
  for (const int64_t keys : {60, 180}) {
    const Sizes s{.batch = 1, .queries = 40, .keys = keys, .lengths = {25}};
    OpCase c = forward(s);
    for (int pass = 0; pass < 2; ++pass) {
      const std::vector<Tensor> want = run_kernel(c);
      OpCase spoilt = c;
      for (const size_t i : {1, 2}) {
        RefTensor x = case_inputs(c)[i];
        std::fill(x.f.begin() + 25 * 2 * 64, x.f.end(), std::numeric_limits<double>::quiet_NaN());
        spoilt.inputs[i] = CaseInput::of(tensor_of(x));
      }
      const std::vector<Tensor> got = run_kernel(spoilt);
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_EQ(std::memcmp(got[i].data(), want[i].data(), want[i].bytes()), 0) << c.op << " result " << i;
      }
      c = backward(c);
    }
  }
}

TEST(AttentionCuda, PassesNanToItsRowOnly) {
  FLOE_NEEDS_CUDA();
  OpCase c = forward(CudaSizes{.queries = 40, .keys = 70});
  RefTensor q = case_inputs(c)[0];
  q.f[static_cast<size_t>((40 + 3) * 2 * 64 + 5)] =
      std::numeric_limits<double>::quiet_NaN();  // row 1, query 3, head 0
  c.inputs[0] = CaseInput::of(tensor_of(q));
  const std::vector<Tensor> out = run_kernel(c);
  for (int64_t i = 0; i < out[0].size(); ++i)
    ASSERT_EQ(std::isnan(out[0].at(i)), i / 64 == (40 + 3) * 2) << i;
}

// Probabilities are all equal to 1 before they are divided: nothing is rounded, the mean is.
TEST(AttentionCuda, AveragesValuesWhenKeysAreZero) {
  FLOE_NEEDS_CUDA();
  OpCase c = forward(CudaSizes{.batch = 1, .queries = 20, .keys = 100});
  c.inputs[1] = CaseInput::of(Tensor(DType::bf16, {1, 100, 2, 64}));
  Tensor ones(DType::bf16, {1, 100, 2, 64});
  for (int64_t i = 0; i < ones.size(); ++i) ones.set(i, 1);
  c.inputs[2] = CaseInput::of(std::move(ones));
  const std::vector<Tensor> result = run_kernel(c);
  for (int64_t i = 0; i < result[0].size(); ++i) ASSERT_EQ(result[0].at(i), 1);
  for (int64_t i = 0; i < result[1].size(); ++i) ASSERT_NEAR(result[1].at(i), std::log(100.0), 0x1p-20);
}

// Scores near -120 and 6e4: nothing overflows on the way, forward or backward.
TEST(AttentionCuda, SurvivesLargeScores) {
  FLOE_NEEDS_CUDA();
  for (const double value : {-120.0, 6e4, -1e5}) {
    OpCase c = forward(CudaSizes{.batch = 1, .queries = 3, .keys = 97, .width = 8, .value_width = 8});
    Tensor q(DType::bf16, {1, 3, 2, 8}), k(DType::bf16, {1, 97, 2, 8});
    for (int64_t i = 0; i < 6; ++i) q.set(8 * i, 1);
    for (int64_t j = 0; j < 194; ++j) k.set(8 * j, value * 2);
    c.inputs[0] = CaseInput::of(std::move(q));
    c.inputs[1] = CaseInput::of(std::move(k));
    const std::vector<RefTensor> want = reference(c);
    const std::vector<Tensor> got = run_kernel(c);
    // Equal probabilities of 1 again: out is rounded once.
    expect_close(got[0], want[0], 1, "out");
    expect_close(got[1], want[1], 8, "lse");
    for (const Tensor& gradient : run_kernel(backward(c))) {
      for (int64_t i = 0; i < gradient.size(); ++i) ASSERT_TRUE(std::isfinite(gradient.at(i)));
    }
  }
}

// One kernel, two kernels, parts of the features, and the plain ones for a width of 12.
TEST(AttentionCuda, WritesItsGradientsIntoSlicesOfAMergedOne) {
  FLOE_NEEDS_CUDA();
  for (const int64_t width : {8, 32, 64, 128, 256, 12}) {
    for (const int64_t rows : {1, 24, 64, 100, 200}) {
      const Sizes s{.queries = rows,
                    .keys = rows,
                    .width = width,
                    .value_width = width,
                    .causal = rows == 100 ? "top_left" : "none",
                    .lengths = {static_cast<int32_t>(rows), static_cast<int32_t>(rows / 2)}};
      SCOPED_TRACE(text_of(s));
      expect_slices_hold_the_same(backward(forward(s)));
    }
  }
}

}  // namespace
}  // namespace floe
