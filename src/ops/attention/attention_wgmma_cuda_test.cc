// Attention's forward pass on sm_90's tensor cores: no dropout, at least 128 queries and keys, with lengths
// 512.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "device/cuda/current_device.h"
#include "ops/attention/attention_cuda_cases_for_test.h"
#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

#define FLOE_NEEDS_SM90() \
  FLOE_NEEDS_CUDA();      \
  if (!device_is_sm90()) GTEST_SKIP() << "needs a GPU of compute capability 9.0"

void check_forward(const CudaSizes& s) { check(s, forward(s)); }
CudaSizes square(int64_t rows, int64_t width) {
  return {.batch = 1, .queries = rows, .keys = rows, .width = width, .value_width = width};
}
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Tiles are 128 or 192 queries by 80 or 128 keys.
TEST(AttentionWgmma, HasTheReferencesValuesForEveryTileAndTail) {
  FLOE_NEEDS_SM90();
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const int64_t width : {64, 128, 256}) {
      for (const auto& [queries, keys] : std::vector<std::pair<int64_t, int64_t>>{
               {128, 128}, {129, 129}, {192, 160}, {193, 161}, {128, 400}, {257, 131}, {200, 513}}) {
        check_forward(CudaSizes{.batch = 1,
                                .queries = queries,
                                .keys = keys,
                                .width = width,
                                .value_width = width,
                                .dtype = dtype});
      }
    }
  }
}

TEST(AttentionWgmma, TakesWidthsBelowItsTiles) {
  FLOE_NEEDS_SM90();
  for (const auto& [width, value_width] :
       std::vector<std::pair<int64_t, int64_t>>{{8, 8}, {24, 40}, {72, 64}, {64, 72}, {96, 200}, {256, 8}}) {
    check_forward(CudaSizes{.batch = 1,
                            .queries = 140,
                            .keys = 150,
                            .heads = 3,
                            .key_heads = 1,
                            .width = width,
                            .value_width = value_width});
  }
}

TEST(AttentionWgmma, KnowsEveryMask) {
  FLOE_NEEDS_SM90();
  for (const int64_t width : {64, 128, 256}) {
    for (const char* causal : {"top_left", "bottom_right"}) {
      for (const auto& [queries, keys] : std::vector<std::pair<int64_t, int64_t>>{
               {128, 128}, {300, 300}, {150, 389}, {389, 150}, {131, 900}, {900, 131}}) {
        check_forward(CudaSizes{.batch = 1,
                                .queries = queries,
                                .keys = keys,
                                .width = width,
                                .value_width = width,
                                .causal = causal});
      }
    }
  }
}

TEST(AttentionWgmma, KnowsLengths) {
  FLOE_NEEDS_SM90();
  for (const int64_t width : {64, 128, 256}) {
    for (const char* causal : {"none", "top_left", "bottom_right"}) {
      check_forward(CudaSizes{.batch = 6,
                              .queries = 520,
                              .keys = 512,
                              .heads = 1,
                              .key_heads = 1,
                              .width = width,
                              .value_width = width,
                              .causal = causal,
                              .lengths = {512, 0, 1, 128, 300, 900}});
    }
  }
}

// More than 8 tiles for each processor of 132: blocks that stay take pairs, of an odd and an even number of
// tiles of a head.
TEST(AttentionWgmma, DealsPairsOfUnequalTiles) {
  FLOE_NEEDS_SM90();
  for (const CudaSizes& s : {CudaSizes{.batch = 23, .queries = 385, .width = 64},
                             CudaSizes{.batch = 34, .queries = 193, .width = 64},
                             CudaSizes{.batch = 23, .queries = 257, .width = 128}}) {
    check_forward({.batch = s.batch,
                   .queries = s.queries,
                   .keys = 40,
                   .heads = 16,
                   .key_heads = 16,
                   .width = s.width,
                   .value_width = s.width,
                   .causal = "top_left"});
  }
}

TEST(AttentionWgmma, SharesKeysAmongHeads) {
  FLOE_NEEDS_SM90();
  CudaSizes s = square(200, 64);
  s.batch = 3;
  s.heads = 8;
  for (const int64_t key_heads : {1, 2, 8}) {
    s.key_heads = key_heads;
    for (const char* causal : {"none", "bottom_right"}) {
      s.causal = causal;
      check_forward(s);
    }
  }
}

// More tiles than processors: every block takes several, of several heads, forwards and backwards.
TEST(AttentionWgmma, TakesManyTilesInEveryOrder) {
  FLOE_NEEDS_SM90();
  for (const int64_t width : {64, 128, 256}) {
    for (const char* causal : {"none", "top_left"}) {
      CudaSizes s = square(600, width);
      s.batch = 8;
      s.keys = 130;
      s.heads = s.key_heads = 5;
      s.causal = causal;
      check_forward(s);
    }
  }
}

TEST(AttentionWgmma, HasTheReferencesValuesOverLongSequences) {
  FLOE_NEEDS_SM90();
  for (const int64_t width : {64, 128, 256}) {
    for (const char* causal : {"none", "top_left"}) {
      CudaSizes s = square(2048, width);
      s.heads = s.key_heads = 1;
      s.causal = causal;
      check_forward(s);
    }
  }
}

// q, k and v as slices of one merged projection [B, S, 3, H, D], each at its strides.
TEST(AttentionWgmma, ReadsSlicesOfAMergedProjection) {
  FLOE_NEEDS_SM90();
  for (const int64_t width : {64, 128, 256}) {
    CudaSizes s = square(150, width);
    s.batch = 2;
    s.causal = "top_left";
    const OpCase c = forward(s);
    const std::vector<Tensor> want = run_kernel(c);
    Tensor merged(DType::bf16, {2, 150, 3, 2, width});
    const std::vector<RefTensor> inputs = case_inputs(c);
    const int64_t row = 2 * width;
    for (int64_t i = 0; i < 300; ++i) {
      for (int64_t part = 0; part < 3; ++part) {
        for (int64_t x = 0; x < row; ++x) {
          merged.set((i * 3 + part) * row + x,
                     inputs[static_cast<size_t>(part)].f[static_cast<size_t>(i * row + x)]);
        }
      }
    }
    const std::unique_ptr<Device> device = open_test_device();
    const DeviceBuffer memory(*device, merged.bytes());
    device->upload(memory.data(), merged.data(), merged.bytes());
    std::vector<View> views, outputs;
    KernelSignature signature{c.op, {}, {}, {DType::bf16, DType::f32}, &c.attrs};
    for (int64_t part = 0; part < 3; ++part) {
      View view(static_cast<char*>(memory.data()) + part * row * 2, DType::bf16, want[0].shape());
      view.strides = {150 * 3 * row, 3 * row, width, 1};
      views.push_back(view);
      signature.inputs.push_back(DType::bf16);
      signature.ranks.push_back(4);
    }
    std::vector<DeviceBuffer> results;
    for (const Tensor& tensor : want) {
      results.emplace_back(*device, tensor.bytes());
      outputs.emplace_back(results.back().data(), tensor.dtype(), tensor.shape());
    }
    const Kernel* kernel = test_kernels().find(device->kind(), signature);
    ASSERT_NE(kernel, nullptr);
    const BoundKernel bound = kernel->bind({c.attrs, views, outputs, 2, 0, device.get()});
    bound.run({views, outputs, nullptr, device->pool(), nullptr, device->stream()});
    for (size_t i = 0; i < want.size(); ++i) {
      Tensor got(want[i].dtype(), want[i].shape());
      device->download(got.data(), results[i].data(), got.bytes());
      device->wait();
      EXPECT_EQ(std::memcmp(got.data(), want[i].data(), got.bytes()), 0) << "result " << i << ", D " << width;
    }
  }
}

// Queries that see no key: whole tiles of them, and rows beside others.
TEST(AttentionWgmma, GivesExactZerosToARowWithoutKeys) {
  FLOE_NEEDS_SM90();
  for (const int64_t width : {64, 128, 256}) {
    CudaSizes s{.batch = 1,
                .queries = 700,
                .keys = 140,
                .width = width,
                .value_width = width,
                .causal = "bottom_right"};
    const std::vector<Tensor> out = run_kernel(forward(s));
    for (int64_t i = 0; i < out[0].size(); ++i) {
      if (i / (2 * width) < 560) {
        ASSERT_EQ(out[0].at(i), 0) << i;
      }
    }
    for (int64_t i = 0; i < out[1].size(); ++i) {
      ASSERT_EQ(std::isinf(out[1].at(i)), i % 700 < 560) << i;
    }
  }
}

TEST(AttentionWgmma, DoesNotReadKeysBeyondLengths) {
  FLOE_NEEDS_SM90();
  for (const int64_t width : {64, 128, 256}) {
    for (const int32_t length : {25, 128, 333}) {
      CudaSizes s = square(512, width);
      s.lengths = {length};
      const OpCase c = forward(s);
      const std::vector<Tensor> want = run_kernel(c);
      OpCase spoilt = c;
      for (const size_t i : {1, 2}) {
        RefTensor x = case_inputs(c)[i];
        std::fill(x.f.begin() + length * 2 * width, x.f.end(), kNan);
        spoilt.inputs[i] = CaseInput::of(tensor_of(x));
      }
      const std::vector<Tensor> got = run_kernel(spoilt);
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_EQ(std::memcmp(got[i].data(), want[i].data(), want[i].bytes()), 0)
            << "result " << i << ", length " << length;
      }
    }
  }
}

TEST(AttentionWgmma, PassesNanToItsRowOnly) {
  FLOE_NEEDS_SM90();
  for (const int64_t width : {64, 128, 256}) {
    OpCase c = forward(square(200, width));
    RefTensor q = case_inputs(c)[0];
    q.f[static_cast<size_t>(131 * 2 * width + 5)] = kNan;  // query 131, head 0
    c.inputs[0] = CaseInput::of(tensor_of(q));
    const std::vector<Tensor> out = run_kernel(c);
    for (int64_t i = 0; i < out[0].size(); ++i)
      ASSERT_EQ(std::isnan(out[0].at(i)), i / width == 131 * 2) << i;
    for (int64_t i = 0; i < out[1].size(); ++i) ASSERT_EQ(std::isnan(out[1].at(i)), i == 131) << i;
  }
}

TEST(AttentionWgmma, PassesNanOfAKeyToEveryRowThatSeesIt) {
  FLOE_NEEDS_SM90();
  OpCase c = forward(square(200, 128));
  RefTensor k = case_inputs(c)[1];
  k.f[static_cast<size_t>(150 * 2 * 128 + 5)] = kNan;  // key 150, head 0
  c.inputs[1] = CaseInput::of(tensor_of(k));
  const std::vector<Tensor> out = run_kernel(c);
  for (int64_t i = 0; i < out[0].size(); ++i) ASSERT_EQ(std::isnan(out[0].at(i)), i / 128 % 2 == 0) << i;
}

// A row's bits depend neither on the rows beside it nor on how far it is padded.
TEST(AttentionWgmma, GivesARowTheSameBitsHoweverItIsPadded) {
  FLOE_NEEDS_SM90();
  for (const int64_t width : {64, 128, 256}) {
    constexpr int64_t kShort = 530, kLong = 700;
    CudaSizes s = square(kShort, width);
    s.lengths = {static_cast<int32_t>(kShort)};
    const OpCase c = forward(s);
    const std::vector<Tensor> want = run_kernel(c);
    OpCase padded = c;
    const int64_t row = 2 * width;
    for (size_t i = 0; i < 3; ++i) {
      const RefTensor x = case_inputs(c)[i];
      RefTensor longer = x;
      longer.shape = {2, kLong, 2, width};  // a second batch row beside it
      longer.f.assign(static_cast<size_t>(2 * kLong * row), 0.5);
      std::copy(x.f.begin(), x.f.end(), longer.f.begin());
      padded.inputs[i] = CaseInput::of(tensor_of(longer));
    }
    padded.inputs[3] = CaseInput::of(Tensor::from_ints({2}, {static_cast<int32_t>(kShort), 640}));
    const std::vector<Tensor> got = run_kernel(padded);
    EXPECT_EQ(std::memcmp(got[0].data(), want[0].data(), want[0].bytes()), 0) << width;
  }
}

// Logits far from 0, all of a row equal: probabilities are equal too, and no exponential overflows.
TEST(AttentionWgmma, SurvivesLargeScores) {
  FLOE_NEEDS_SM90();
  for (const double value : {-120.0, 3e3, -6e4}) {
    OpCase c = forward(square(130, 64));
    Tensor q(DType::bf16, {1, 130, 2, 64}), k(DType::bf16, {1, 130, 2, 64});
    for (int64_t i = 0; i < 260; ++i) {
      q.set(64 * i, 1);
      k.set(64 * i, value * 8);
    }
    c.inputs[0] = CaseInput::of(std::move(q));
    c.inputs[1] = CaseInput::of(std::move(k));
    const std::vector<RefTensor> want = reference(c);
    const std::vector<Tensor> got = run_kernel(c);
    // A power of two of a shift that was rounded: up to 2^-24 |logit| log2(e) off 1, the same for all keys.
    expect_close(got[0], want[0], 3, "out");
    expect_close(got[1], want[1], 8, "lse");
  }
}

}  // namespace
}  // namespace floe
