#include "ops/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "ops/all.h"
#include "ops/attention/attention_cases_for_test.h"
#include "testing/op_case.h"

namespace floe {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Sizes {
  int64_t batch = 2, queries = 5, keys = 7, heads = 2, key_heads = 2, width = 8, value_width = 8;
  std::string causal = "none";
  std::vector<int32_t> lengths;
  double dropout = 0;
};

std::string text_of(const Sizes& s) {
  return fmt::format("B{} Sq{} Sk{} H{}/{} D{}/{} {} lengths {} dropout {}", s.batch, s.queries, s.keys,
                     s.heads, s.key_heads, s.width, s.value_width, s.causal, s.lengths.size(), s.dropout);
}

void add_mask(const Sizes& s, OpCase* c) {
  if (!s.lengths.empty()) {
    c->inputs.push_back(CaseInput::of(Tensor::from_ints({s.batch}, s.lengths)));
    c->inputs.back().differentiate = false;
  }
  c->attrs.set("causal", s.causal);
  c->attrs.set("scale", 1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, s.width))));
  c->attrs.set("lengths", !s.lengths.empty());
}

OpCase forward(const Sizes& s) {
  OpCase c{"attention",
           {CaseInput::normal({s.batch, s.queries, s.heads, s.width}),
            CaseInput::normal({s.batch, s.keys, s.key_heads, s.width}),
            CaseInput::normal({s.batch, s.keys, s.key_heads, s.value_width})}};
  add_mask(s, &c);
  add_dropout(s.batch, s.dropout, &c);
  return c;
}

OpCase weights(const Sizes& s) {
  OpCase c{"attention_weights",
           {CaseInput::normal({s.batch, s.queries, s.heads, s.width}),
            CaseInput::normal({s.batch, s.keys, s.key_heads, s.width})}};
  add_mask(s, &c);
  return c;
}

std::vector<Sizes> grid() {
  std::vector<Sizes> all = {
      {.batch = 0},
      {.queries = 0},
      {.keys = 0},
      {.width = 0},
      {.value_width = 0},
      {.batch = 1, .queries = 1, .keys = 1, .heads = 1, .key_heads = 1, .width = 1, .value_width = 1},
      {.queries = 1, .keys = 150, .width = 40},
      {.queries = 13, .keys = 67, .heads = 6, .key_heads = 2, .width = 17, .value_width = 33},
      {.queries = 131, .keys = 129, .heads = 3, .key_heads = 1, .width = 32, .value_width = 32},
      {.batch = 3, .queries = 24, .keys = 24, .heads = 4, .key_heads = 4, .width = 32, .value_width = 32},
      {.batch = 1, .queries = 64, .keys = 64, .heads = 2, .key_heads = 2, .width = 64, .value_width = 64},
  };
  for (const char* causal : {"top_left", "bottom_right"}) {
    all.push_back({.queries = 2, .keys = 5, .causal = causal});
    all.push_back({.queries = 5, .keys = 2, .causal = causal});
    all.push_back({.queries = 70, .keys = 200, .width = 24, .value_width = 16, .causal = causal});
    all.push_back({.queries = 200, .keys = 70, .width = 16, .value_width = 24, .causal = causal});
    all.push_back({.batch = 3,
                   .queries = 80,
                   .keys = 80,
                   .heads = 4,
                   .key_heads = 2,
                   .causal = causal,
                   .lengths = {80, 0, 37},
                   .dropout = 0.3});
  }
  all.push_back({.batch = 4, .queries = 9, .keys = 150, .lengths = {0, 1, 64, 150}});
  all.push_back({.batch = 2, .queries = 9, .keys = 150, .lengths = {65, 127}, .dropout = 0.1});
  all.push_back({.batch = 2, .queries = 7, .keys = 6, .heads = 4, .key_heads = 2, .dropout = 0.5});
  return all;
}

// A result is a chain of some 10 + 2 D + keys roundings of half a unit each against the result's root mean
// square; they add up like a random walk, so 64 units bound the largest sizes here with room. exp adds its
// two units.
TEST(Attention, HasTheReferencesValues) {
  for (const Sizes& s : grid()) {
    SCOPED_TRACE(text_of(s));
    OpCase c = forward(s);
    c.ulps = 64;
    check_kernel(c);
  }
}

// Score gradients p * (dp - delta) are differences: where one key holds most of the probability they cancel,
// and their error is that of dp, a sum of Dv products, while the results' root mean square may be 20 times
// smaller.
TEST(AttentionGrad, HasTheReferencesValues) {
  for (const Sizes& s : grid()) {
    SCOPED_TRACE(text_of(s));
    OpCase c = backward(forward(s));
    c.ulps = 64 * 20;
    check_kernel(c);
  }
}

TEST(AttentionWeights, HaveTheReferencesValues) {
  for (Sizes s : grid()) {
    SCOPED_TRACE(text_of(s));
    s.dropout = 0;
    OpCase c = weights(s);
    c.ulps = 64;
    check_kernel(c);
  }
}

std::vector<Sizes> small_grid() {
  return {{},
          {.heads = 4, .key_heads = 2, .value_width = 3, .causal = "top_left"},
          {.queries = 3, .causal = "bottom_right", .lengths = {7, 5}},
          {.queries = 7, .keys = 3, .lengths = {2, 3}, .dropout = 0.5}};
}

// Head size 16 makes the scale 1/4, and a rate of 1/2 makes the factor 2: the meaning's constants are f32,
// and these round to themselves.
TEST(Attention, MeansWhatItComputes) {
  for (Sizes s : small_grid()) {
    SCOPED_TRACE(text_of(s));
    s.width = 16;
    if (!s.lengths.empty()) s.lengths[0] = 0;
    check_meaning(forward(s));
    check_meaning(backward(forward(s)));
    s.dropout = 0;
    check_meaning(weights(s));
  }
  // The first three queries see nothing.
  check_meaning(forward({.queries = 6, .keys = 3, .width = 16, .causal = "bottom_right"}));
}

// Also through lse.
TEST(Attention, HasTheRightGradient) {
  for (const Sizes& s : small_grid()) {
    SCOPED_TRACE(text_of(s));
    check_gradient(forward(s));
  }
}

// docs/numerics.md: no more than twice the error of the same formula written down plainly in f32.
TEST(Attention, IsAsPreciseAsPlainSinglePrecision) {
  for (const double magnitude : {1.0, 8.0}) {
    OpCase c = forward({.batch = 2, .queries = 50, .keys = 180, .width = 64, .value_width = 64});
    const std::vector<RefTensor> random = case_inputs(c);
    std::vector<Tensor> x;
    for (size_t i = 0; i < 3; ++i) {
      RefTensor scaled = random[i];
      for (double& value : scaled.f) value *= magnitude;
      x.push_back(tensor_of(scaled));
      c.inputs[i] = CaseInput::of(tensor_of(scaled));
    }
    const std::vector<RefTensor> want = reference(c);
    const std::vector<Tensor> got = run_kernel(c);
    double plain_error = 0, error = 0, plain_square = 0, square = 0;
    for (int64_t row = 0; row < 2 * 50 * 2; ++row) {
      const int64_t b = row / 100, h = row % 2;
      std::vector<float> p(180);
      float top = -std::numeric_limits<float>::infinity();
      for (int64_t j = 0; j < 180; ++j) {
        float sum = 0;
        for (int64_t d = 0; d < 64; ++d) {
          sum += x[0].as<float>()[row * 64 + d] * x[1].as<float>()[((b * 180 + j) * 2 + h) * 64 + d];
        }
        p[static_cast<size_t>(j)] = sum * 0.125f;
        top = std::max(top, sum * 0.125f);
      }
      float total = 0;
      for (float& value : p) total += value = std::exp(value - top);
      for (int64_t d = 0; d < 64; ++d) {
        float out = 0;
        for (int64_t j = 0; j < 180; ++j) {
          out += p[static_cast<size_t>(j)] / total * x[2].as<float>()[((b * 180 + j) * 2 + h) * 64 + d];
        }
        const double truth = want[0].f[static_cast<size_t>(row * 64 + d)];
        const double plain = std::fabs(static_cast<double>(out) - truth);
        const double ours = std::fabs(got[0].at(row * 64 + d) - truth);
        plain_error = std::max(plain_error, plain);
        error = std::max(error, ours);
        plain_square += plain * plain;
        square += ours * ours;
      }
    }
    EXPECT_LE(error, 2 * plain_error) << "at magnitude " << magnitude;
    EXPECT_LE(std::sqrt(square), 1.15 * std::sqrt(plain_square)) << "at magnitude " << magnitude;
  }
}

bool same_bytes(const void* x, const void* y, size_t n) { return n == 0 || std::memcmp(x, y, n) == 0; }

std::vector<Tensor> tensors_of(const OpCase& c) {
  std::vector<Tensor> tensors;
  for (const RefTensor& ref : case_inputs(c)) tensors.push_back(tensor_of(ref));
  return tensors;
}

// Forward and backward of `sizes` and of the same with batch rows in another order, and with other thread
// counts.
TEST(Attention, GivesABatchRowTheSameBitsInAnyPlaceAndOnAnyThreads) {
  const Sizes s{.batch = 3,
                .queries = 20,
                .keys = 80,
                .heads = 4,
                .key_heads = 2,
                .causal = "bottom_right",
                .lengths = {80, 33, 64},
                .dropout = 0.2};
  const std::vector<int64_t> order = {2, 0, 1};
  OpCase straight = forward(s);
  for (int pass = 0; pass < 2; ++pass) {
    OpCase turned = straight;
    std::vector<Tensor> inputs = tensors_of(straight);
    for (size_t k = 0; k < inputs.size(); ++k) {
      Tensor permuted(inputs[k].dtype(), inputs[k].shape());
      const bool by_row = !inputs[k].shape().empty();
      const size_t bytes = by_row ? inputs[k].bytes() / 3 : inputs[k].bytes();
      for (size_t row = 0; row < (by_row ? 3u : 1u); ++row) {
        std::memcpy(permuted.as<char>() + row * bytes,
                    inputs[k].as<char>() + (by_row ? static_cast<size_t>(order[row]) : 0) * bytes, bytes);
      }
      turned.inputs[k] = CaseInput::of(std::move(permuted));
    }
    straight.threads = 1;
    turned.threads = 3;
    const std::vector<Tensor> one = run_kernel(straight);
    const std::vector<Tensor> other = run_kernel(turned);
    for (size_t k = 0; k < one.size(); ++k) {
      const size_t bytes = one[k].bytes() / 3;
      for (size_t row = 0; row < 3; ++row) {
        EXPECT_TRUE(same_bytes(other[k].as<char>() + row * bytes,
                               one[k].as<char>() + static_cast<size_t>(order[row]) * bytes, bytes))
            << straight.op << " result " << k << " row " << row;
      }
    }
    straight = backward(straight);
  }
}

// Copies [B, S, ...] into [B, longer, ...], the rest filled with NaN.
Tensor pad_keys(const Tensor& x, int64_t longer) {
  Shape shape = x.shape();
  const int64_t length = shape[1];
  shape[1] = longer;
  Tensor padded(x.dtype(), shape);
  std::fill_n(padded.as<float>(), padded.size(), kNan);
  const auto row = static_cast<size_t>(x.size() / shape[0]);
  const auto padded_row = static_cast<size_t>(padded.size() / shape[0]);
  for (int64_t b = 0; b < shape[0]; ++b) {
    std::copy_n(x.as<float>() + static_cast<size_t>(b) * row, row,
                padded.as<float>() + static_cast<size_t>(b) * padded_row);
  }
  EXPECT_LT(length, longer);
  return padded;
}

TEST(Attention, DoesNotReadKeysBeyondLengths) {
  const Sizes tight{.batch = 2,
                    .queries = 20,
                    .keys = 70,
                    .width = 20,
                    .value_width = 12,
                    .causal = "top_left",
                    .lengths = {70, 70},
                    .dropout = 0.2};
  OpCase c = forward(tight);
  for (int pass = 0; pass < 2; ++pass) {
    OpCase padded = c;
    std::vector<Tensor> inputs = tensors_of(c);
    for (const size_t k : {1, 2}) padded.inputs[k] = CaseInput::of(pad_keys(inputs[k], 131));
    padded.inputs[0] = CaseInput::of(std::move(inputs[0]));
    const std::vector<Tensor> want = run_kernel(c);
    const std::vector<Tensor> got = run_kernel(padded);
    for (size_t k = 0; k < want.size(); ++k) {
      const size_t bytes = want[k].bytes() / 2, padded_bytes = got[k].bytes() / 2;
      for (size_t row = 0; row < 2; ++row) {
        EXPECT_TRUE(
            same_bytes(got[k].as<char>() + row * padded_bytes, want[k].as<char>() + row * bytes, bytes))
            << c.op << " result " << k;
        for (size_t i = bytes / 4; i < padded_bytes / 4; ++i) {
          ASSERT_EQ(got[k].as<float>()[row * padded_bytes / 4 + i], 0) << c.op << " result " << k;
        }
      }
    }
    c = backward(c);
  }
}

TEST(Attention, KeepsTheFutureFromThePast) {
  const Sizes s{.batch = 1, .queries = 70, .keys = 70, .causal = "top_left"};
  OpCase clean = forward(s);
  std::vector<Tensor> inputs = tensors_of(clean);
  OpCase spoilt = clean;
  for (const size_t k : {1, 2}) {
    std::fill_n(inputs[k].as<float>() + 40 * 16, 16, kNan);  // key 40 of both heads
    spoilt.inputs[k] = CaseInput::of(std::move(inputs[k]));
  }
  spoilt.inputs[0] = CaseInput::of(std::move(inputs[0]));
  const std::vector<Tensor> want = run_kernel(clean);
  const std::vector<Tensor> got = run_kernel(spoilt);
  EXPECT_TRUE(same_bytes(want[0].data(), got[0].data(), 40 * 16 * sizeof(float)));
  for (int64_t i = 40 * 16; i < got[0].size(); ++i) ASSERT_TRUE(std::isnan(got[0].at(i))) << i;
}

TEST(Attention, ReadsSlicesOfAMergedProjection) {
  // [B, S, 3, H, D]
  constexpr int64_t kB = 2, kS = 9, kH = 2, kD = 8;
  const OpCase merged{"softmax", {CaseInput::normal({kB, kS, 3, kH, kD})}};
  const Tensor projection = tensor_of(case_inputs(merged)[0]);
  OpCase apart = forward({.batch = kB, .queries = kS, .keys = kS});
  std::vector<View> views;
  for (int64_t part = 0; part < 3; ++part) {
    Tensor copy(DType::f32, {kB, kS, kH, kD});
    for (int64_t row = 0; row < kB * kS; ++row) {
      std::memcpy(copy.as<float>() + row * kH * kD, projection.as<float>() + (row * 3 + part) * kH * kD,
                  kH * kD * sizeof(float));
    }
    View view = view_of(copy);
    view.data = const_cast<float*>(projection.as<float>()) + part * kH * kD;
    view.strides = {kS * 3 * kH * kD, 3 * kH * kD, kD, 1};
    views.push_back(view);
    apart.inputs[static_cast<size_t>(part)] = CaseInput::of(std::move(copy));
  }
  const std::unique_ptr<Device> device = open_test_device();
  const DeviceBuffer merged_memory(*device, projection.bytes());
  device->upload(merged_memory.data(), projection.data(), projection.bytes());
  for (int64_t part = 0; part < 3; ++part)
    views[static_cast<size_t>(part)].data = static_cast<float*>(merged_memory.data()) + part * kH * kD;
  for (const char* op : {"attention", "attention_grad"}) {
    const std::vector<Tensor> want = run_kernel(apart);
    const std::vector<Tensor> others = tensors_of(apart);
    KernelSignature signature{op, {}, {}, {}, &apart.attrs};
    for (const Tensor& tensor : others) {
      signature.inputs.push_back(tensor.dtype());
      signature.ranks.push_back(static_cast<int>(tensor.shape().size()));
    }
    for (const Tensor& tensor : want) signature.outputs.push_back(tensor.dtype());
    const Kernel* kernel = test_kernels().find(device->kind(), signature);
    ASSERT_NE(kernel, nullptr);
    EXPECT_EQ(kernel->strided_inputs, 0b111u);
    std::vector<DeviceBuffer> memory;
    std::vector<View> inputs = views, outputs;
    for (size_t k = 3; k < others.size(); ++k) {
      memory.emplace_back(*device, others[k].bytes());
      device->upload(memory.back().data(), others[k].data(), others[k].bytes());
      inputs.emplace_back(memory.back().data(), others[k].dtype(), others[k].shape());
    }
    for (const Tensor& tensor : want) {
      memory.emplace_back(*device, tensor.bytes());
      outputs.emplace_back(memory.back().data(), tensor.dtype(), tensor.shape());
    }
    const BoundKernel bound = kernel->bind({apart.attrs, inputs, outputs, 2, 0, device.get()});
    const DeviceBuffer workspace(*device, bound.workspace);
    bound.run({inputs, outputs, workspace.data(), device->pool(), nullptr, device->stream()});
    for (size_t k = 0; k < want.size(); ++k) {
      Tensor got(want[k].dtype(), want[k].shape());
      device->download(got.data(), outputs[k].data, got.bytes());
      device->wait();
      EXPECT_TRUE(same_bytes(want[k].data(), got.data(), want[k].bytes())) << op << " " << k;
    }
    apart = backward(apart);
  }
}

TEST(Attention, WritesItsGradientsIntoSlicesOfAMergedOne) {
  for (const Sizes& s :
       {Sizes{.batch = 2, .queries = 9, .keys = 9},
        Sizes{.batch = 3, .queries = 70, .keys = 70, .causal = "top_left"},
        Sizes{.batch = 3, .queries = 6, .keys = 6, .lengths = {6, 0, 2}},
        Sizes{.batch = 1, .queries = 5, .keys = 5, .heads = 3, .key_heads = 3, .width = 7, .value_width = 7},
        Sizes{.batch = 2, .queries = 130, .keys = 130, .dropout = 0.3}}) {
    SCOPED_TRACE(text_of(s));
    expect_slices_hold_the_same(backward(forward(s)));
  }
}

TEST(Attention, GivesExactZerosToARowWithoutKeysAndLeavesOthersAlone) {
  Sizes s{.batch = 3, .queries = 4, .keys = 9, .lengths = {9, 0, 5}};
  const OpCase c = forward(s);
  const std::vector<Tensor> masked = run_kernel(c);
  const std::vector<Tensor> gradients = run_kernel(backward(c));
  for (int64_t i = 0; i < 4 * 2 * 8; ++i) EXPECT_EQ(masked[0].at(4 * 2 * 8 + i), 0);
  for (int64_t i = 0; i < 2 * 4; ++i)
    EXPECT_EQ(masked[1].at(2 * 4 + i), -std::numeric_limits<double>::infinity());
  for (const Tensor& gradient : gradients) {
    const int64_t row = gradient.size() / 3;
    for (int64_t i = 0; i < gradient.size(); ++i) {
      ASSERT_TRUE(std::isfinite(gradient.at(i)));
      if (i / row == 1) {
        ASSERT_EQ(gradient.at(i), 0);
      }
    }
  }
  s.lengths[1] = 9;
  const std::vector<Tensor> open = run_kernel(forward(s));
  for (const size_t row : {0, 2}) {
    const size_t bytes = open[0].bytes() / 3;
    EXPECT_TRUE(same_bytes(open[0].as<char>() + row * bytes, masked[0].as<char>() + row * bytes, bytes));
  }
}

TEST(Attention, AveragesValuesWhenKeysAreZero) {
  OpCase c = forward({.batch = 1, .queries = 2, .keys = 100, .heads = 1, .key_heads = 1});
  c.inputs[1] = CaseInput::of(Tensor(DType::f32, {1, 100, 1, 8}));
  Tensor ones(DType::f32, {1, 100, 1, 8});
  std::fill_n(ones.as<float>(), 800, 1.0f);
  c.inputs[2] = CaseInput::of(std::move(ones));
  const std::vector<Tensor> result = run_kernel(c);
  // 100 * (1 / 100) with one rounding.
  for (int64_t i = 0; i < result[0].size(); ++i) EXPECT_NEAR(result[0].at(i), 1, 0x1p-23);
  for (int64_t i = 0; i < 2; ++i) EXPECT_NEAR(result[1].at(i), std::log(100.0), 0x1p-21);
}

TEST(Attention, SurvivesLargeScores) {
  for (const double value : {-120.0, 6e4, -1e5}) {
    OpCase c = forward({.batch = 1, .queries = 3, .keys = 97, .heads = 1, .key_heads = 1, .width = 4});
    Tensor q(DType::f32, {1, 3, 1, 4}), k(DType::f32, {1, 97, 1, 4});
    for (int64_t i = 0; i < 3; ++i) q.set(4 * i, 1);
    for (int64_t j = 0; j < 97; ++j) k.set(4 * j, value * 2);
    c.inputs[0] = CaseInput::of(std::move(q));
    c.inputs[1] = CaseInput::of(std::move(k));
    check_kernel(c);
    // lse near 1e5 is a multiple of 2^-7 in f32, which is the relative error of probabilities recomputed from
    // it.
    const std::vector<RefTensor> want = reference(backward(c));
    const std::vector<Tensor> got = run_kernel(backward(c));
    for (int64_t i = 0; i < got[2].size(); ++i) {
      EXPECT_NEAR(got[2].at(i), want[2].f[static_cast<size_t>(i)], 0x1p-7 * 3 / 97);
    }
    for (const Tensor& gradient : got) {
      for (int64_t i = 0; i < gradient.size(); ++i) ASSERT_TRUE(std::isfinite(gradient.at(i)));
    }
  }
}

TEST(Attention, PassesNanToItsRowOnly) {
  OpCase c = forward({.batch = 2, .queries = 8, .keys = 70});
  std::vector<Tensor> inputs = tensors_of(c);
  inputs[0].set(8 * 2 * 8 + 16 * 3, kNan);  // batch row 1, query 3, head 0
  c.inputs[0] = CaseInput::of(std::move(inputs[0]));
  check_kernel(c);
}

TEST(Attention, DropsTheAskedShareAndKeepsTheMean) {
  // v = 1: out is the share of probability kept, times 1 / (1 - rate); its mean over many rows is 1.
  OpCase c = forward({.batch = 8, .queries = 64, .keys = 64, .dropout = 0.25});
  Tensor ones(DType::f32, {8, 64, 2, 8});
  std::fill_n(ones.as<float>(), ones.size(), 1.0f);
  c.inputs[1] = CaseInput::of(Tensor(DType::f32, {8, 64, 2, 8}));
  c.inputs[2] = CaseInput::of(std::move(ones));
  const std::vector<Tensor> result = run_kernel(c);
  double sum = 0;
  for (int64_t i = 0; i < result[0].size(); i += 8) sum += result[0].at(i);
  const double n = 8 * 64 * 2 * 64;  // independent masks of deviation sqrt(rate / (1 - rate))
  EXPECT_NEAR(sum / (8 * 64 * 2), 1, 4 * std::sqrt(0.25 / 0.75 / n));
}

class AttentionRefuses : public testing::Test {
 protected:
  Graph graph_{all_ops(), "refusals"};
  Builder b_{graph_};
  int inputs_ = 0;
  Value input(DType dtype, const Shape& shape) {
    Type type{dtype, {}};
    for (const int64_t dim : shape) type.dims.emplace_back(dim);
    return b_.input("x" + std::to_string(inputs_++), type);
  }
  template <class F>
  static std::string message(F body) {
    try {
      body();
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
};

TEST_F(AttentionRefuses, ShapesThatDoNotFit) {
  const Value q = input(DType::f32, {2, 3, 4, 8});
  const Value k = input(DType::f32, {2, 5, 4, 8});
  EXPECT_EQ(message([&] { attention(b_, {q, input(DType::f32, {2, 5, 4, 7}), k}); }),
            "[attention] q and k must agree in batch and head size, got f32[2, 3, 4, 8] and f32[2, 5, 4, 7]");
  EXPECT_EQ(message([&] { attention(b_, {q, input(DType::f32, {2, 5, 3, 8}), k}); }),
            "[attention] 4 query heads are no multiple of 3 key heads");
  EXPECT_EQ(message([&] { attention(b_, {q, k, input(DType::f32, {2, 6, 4, 8})}); }),
            "[attention] k and v must agree in all but head size, got f32[2, 5, 4, 8] and f32[2, 6, 4, 8]");
  EXPECT_EQ(message([&] { attention(b_, {.q = q, .k = k, .v = k, .lengths = input(DType::i32, {3})}); }),
            "[attention] lengths must be i32[2], got i32[3]");
}

TEST_F(AttentionRefuses, AttributesThatMeanNothing) {
  const Value q = input(DType::f32, {2, 3, 4, 8});
  Attrs attrs{{"causal", std::string("left")}, {"scale", 1.0}, {"lengths", false}};
  EXPECT_EQ(message([&] { b_.add_all("attention", {q, q, q}, attrs); }),
            "[attention] causal must be none, top_left or bottom_right, got 'left'");
  attrs.set("causal", std::string("none"));
  attrs.set("dropout", 1.0);
  EXPECT_EQ(message([&] { b_.add_all("attention", {q, q, q}, attrs); }),
            "[attention] dropout must be in [0, 1), got 1");
  attrs.set("dropout", 0.5);
  EXPECT_EQ(message([&] { b_.add_all("attention", {q, q, q}, attrs); }),
            "[attention] takes 5 inputs with lengths = false and dropout = 0.5, got 3");
}

}  // namespace
}  // namespace floe
