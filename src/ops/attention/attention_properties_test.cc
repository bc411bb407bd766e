// What holds of attention whatever its values are: no reference is needed.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "ops/attention/attention_cases_for_test.h"

namespace floe {
namespace {

// The CPU's type, and a GPU's.
std::vector<DType> dtypes() {
  if (test_device_kind() == DeviceKind::cpu) return {DType::f32};
  return {DType::f32, DType::bf16, DType::f16};
}

// Of a result that is a mean of numbers of size 1: the type's unit for its own rounding and that of
// probabilities, and what 100 f32 roundings make.
double unit_of(DType dtype) {
  return dtype == DType::f32 ? 0x1p-17 : (dtype == DType::bf16 ? 0x1p-7 : 0x1p-10) + 0x1p-17;
}

// Sizes with several tiles in both directions and a ragged end.
std::vector<Asked> shapes(DType dtype) {
  std::vector<Asked> all;
  for (const char* causal : {"none", "top_left", "bottom_right"}) {
    all.push_back(
        {.queries = 150, .keys = 150, .width = 64, .value_width = 64, .causal = causal, .dtype = dtype});
    all.push_back(
        {.queries = 40, .keys = 203, .width = 32, .value_width = 32, .causal = causal, .dtype = dtype});
  }
  all.push_back({.queries = 70,
                 .keys = 90,
                 .width = 16,
                 .value_width = 24,
                 .left = 33,
                 .right = 7,
                 .softcap = 4,
                 .slopes = true,
                 .dtype = dtype});
  return all;
}

OpCase with_input(OpCase c, size_t input, const RefTensor& value) {
  c.inputs[input] = CaseInput::of(tensor_of(value));
  return c;
}

OpCase given(const OpCase& c) {
  OpCase all = c;
  const std::vector<RefTensor> inputs = case_inputs(c);
  for (size_t i = 0; i < inputs.size(); ++i) all = with_input(all, i, inputs[i]);
  return all;
}

template <class F>
void for_each_shape(F body) {
  for (const DType dtype : dtypes()) {
    for (const Asked& s : shapes(dtype)) {
      SCOPED_TRACE(text_of(s));
      body(s);
    }
  }
}

TEST(AttentionProperties, ValuesOfOneGiveOne) {
  for_each_shape([](const Asked& s) {
    OpCase c = given(forward(s));
    RefTensor ones = case_inputs(c)[2];
    std::fill(ones.f.begin(), ones.f.end(), 1);
    const std::vector<Tensor> result = run_kernel(with_input(c, 2, ones));
    for (int64_t i = 0; i < result[0].size(); ++i) ASSERT_NEAR(result[0].at(i), 1, unit_of(s.dtype));
  });
}

TEST(AttentionProperties, KeysOfZeroGiveTheMeanOfTheValuesThatAreSeen) {
  for (const DType dtype : dtypes()) {
    const Asked s{.batch = 1,
                  .queries = 130,
                  .keys = 130,
                  .heads = 1,
                  .key_heads = 1,
                  .width = 64,
                  .value_width = 64,
                  .causal = "top_left",
                  .dtype = dtype};
    OpCase c = given(forward(s));
    const RefTensor v = case_inputs(c)[2];
    const std::vector<Tensor> result = run_kernel(with_input(c, 1, RefTensor(dtype, {1, 130, 1, 64})));
    for (int64_t d = 0; d < 64; ++d) {
      double sum = 0;
      for (int64_t i = 0; i < 130; ++i) {
        sum += v.f[static_cast<size_t>(i * 64 + d)];
        ASSERT_NEAR(result[0].at(i * 64 + d), sum / static_cast<double>(i + 1), 4 * unit_of(dtype));
      }
    }
    for (int64_t i = 0; i < 130; ++i)
      ASSERT_NEAR(result[1].at(i), std::log(static_cast<double>(i + 1)), 0x1p-20);
  }
}

// Rows of dim 1 in another order.
RefTensor permuted(const RefTensor& x, const std::vector<int64_t>& order) {
  RefTensor to = x;
  const int64_t rows = x.shape[1], width = x.size() / (x.shape[0] * rows);
  for (int64_t b = 0; b < x.shape[0]; ++b) {
    for (int64_t j = 0; j < rows; ++j) {
      std::copy_n(x.f.begin() + (b * rows + order[static_cast<size_t>(j)]) * width, width,
                  to.f.begin() + (b * rows + j) * width);
    }
  }
  return to;
}

std::vector<int64_t> some_order(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) order[static_cast<size_t>(j)] = j * 89 % n;  // 89 is prime to every n here
  return order;
}

// Values are about 1 in size, so their mean with weights is at most 4.
TEST(AttentionProperties, TheOrderOfKeysDoesNotMatter) {
  for (const DType dtype : dtypes()) {
    const Asked s{.queries = 30, .keys = 203, .width = 64, .value_width = 64, .dtype = dtype};
    const OpCase c = given(forward(s));
    const std::vector<RefTensor> inputs = case_inputs(c);
    const std::vector<int64_t> order = some_order(203);
    const OpCase turned =
        with_input(with_input(c, 1, permuted(inputs[1], order)), 2, permuted(inputs[2], order));
    const std::vector<Tensor> want = run_kernel(c), got = run_kernel(turned);
    for (int64_t i = 0; i < want[0].size(); ++i) ASSERT_NEAR(got[0].at(i), want[0].at(i), 4 * unit_of(dtype));
    for (int64_t i = 0; i < want[1].size(); ++i) ASSERT_NEAR(got[1].at(i), want[1].at(i), 0x1p-18);
  }
}

// A feature of q that is 1 and one of k that is the same everywhere move all logits of a row alike: out and
// gradients stay, lse moves along. 128 is exact in every type, and beyond where exp is 0 in f32.
TEST(AttentionProperties, AShiftOfAllLogitsChangesLseAlone) {
  for (const DType dtype : dtypes()) {
    for (const auto& [queries, keys] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 128}, {1, 97}, {64, 64}, {192, 192}, {65, 127}}) {
      Asked s{.batch = 1, .queries = queries, .keys = keys, .width = 64, .value_width = 64, .dtype = dtype};
      OpCase c = given(forward(s));
      c.attrs.set("scale", 0.125);
      std::vector<RefTensor> inputs = case_inputs(c);
      const auto set_feature = [&](size_t input, double value) {
        for (size_t at = 0; at < inputs[input].f.size(); at += 64) inputs[input].f[at] = value;
        c = with_input(c, input, inputs[input]);
      };
      set_feature(0, 1);
      set_feature(1, 0);
      const std::vector<Tensor> want = run_kernel(c), gradients = run_kernel(backward(c));
      for (const double shift : {-128.0, 128.0}) {
        set_feature(1, shift * 8);
        const std::vector<Tensor> got = run_kernel(c), moved = run_kernel(backward(c));
        // A logit near 128 is a multiple of 2^-17 in f32, of which its product's 64 terms lose a few.
        for (int64_t i = 0; i < want[0].size(); ++i)
          ASSERT_NEAR(got[0].at(i), want[0].at(i), 4 * unit_of(dtype) + 0x1p-13);
        for (int64_t i = 0; i < want[1].size(); ++i)
          ASSERT_NEAR(got[1].at(i), want[1].at(i) + shift, 0x1p-13);
        for (const Tensor& gradient : moved) {
          for (int64_t i = 0; i < gradient.size(); ++i) ASSERT_TRUE(std::isfinite(gradient.at(i)));
        }
        for (int64_t i = 0; i < moved[2].size(); ++i)
          ASSERT_NEAR(moved[2].at(i), gradients[2].at(i),
                      (8 * unit_of(dtype) + 0x1p-12) * std::sqrt(static_cast<double>(queries)));
      }
    }
  }
}

TEST(AttentionProperties, HeadsThatShareKeysGiveWhatRepeatedKeysGive) {
  for_each_shape([](const Asked& shape) {
    Asked shared = shape, repeated = shape;
    shared.heads = repeated.heads = repeated.key_heads = 6;
    shared.key_heads = 2;
    const OpCase c = given(forward(shared));
    OpCase wide = given(forward(repeated));
    const std::vector<RefTensor> inputs = case_inputs(c);
    wide = with_input(wide, 0, inputs[0]);
    if (shape.slopes) wide = with_input(wide, 3, inputs[3]);
    for (const size_t k : {1, 2}) {
      RefTensor x = case_inputs(wide)[k];
      const int64_t width = x.shape[3], rows = x.shape[0] * x.shape[1];
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t h = 0; h < 6; ++h)
          std::copy_n(inputs[k].f.begin() + (r * 2 + h / 3) * width, width,
                      x.f.begin() + (r * 6 + h) * width);
      }
      wide = with_input(wide, k, x);
    }
    const std::vector<Tensor> want = run_kernel(wide), got = run_kernel(c);
    for (size_t k = 0; k < 2; ++k) {
      ASSERT_EQ(std::memcmp(got[k].data(), want[k].data(), want[k].bytes()), 0) << "result " << k;
    }
  });
}

TEST(AttentionProperties, BottomRightIsTheTailOfTheSquare) {
  for (const DType dtype : dtypes()) {
    Asked square{.queries = 200,
                 .keys = 200,
                 .width = 32,
                 .value_width = 32,
                 .causal = "bottom_right",
                 .dtype = dtype};
    const OpCase all = given(forward(square));
    const std::vector<Tensor> want = run_kernel(all);
    const std::vector<RefTensor> inputs = case_inputs(all);
    for (const int64_t tail : {1, 2, 64, 113}) {
      Asked s = square;
      s.queries = tail;
      OpCase c = given(forward(s));
      c = with_input(with_input(c, 1, inputs[1]), 2, inputs[2]);
      RefTensor q(dtype, {2, tail, 2, 32});
      for (int64_t b = 0; b < 2; ++b)
        std::copy_n(inputs[0].f.begin() + (b * 200 + 200 - tail) * 64, tail * 64,
                    q.f.begin() + b * tail * 64);
      const std::vector<Tensor> got = run_kernel(with_input(c, 0, q));
      for (int64_t b = 0; b < 2; ++b) {
        for (int64_t i = 0; i < tail * 64; ++i) {
          ASSERT_NEAR(got[0].at(b * tail * 64 + i), want[0].at((b * 200 + 200 - tail) * 64 + i),
                      4 * unit_of(dtype));
        }
      }
    }
  }
}

// dv's rows summed are dout's rows summed, since a query's probabilities add up to 1.
TEST(AttentionProperties, TheRowsOfTheValuesGradientAddUpToThoseOfTheResults) {
  for (const DType dtype : dtypes()) {
    for (const char* causal : {"none", "top_left"}) {
      const Asked s{
          .queries = 150, .keys = 150, .width = 64, .value_width = 64, .causal = causal, .dtype = dtype};
      const OpCase c = backward(forward(s));
      const std::vector<Tensor> gradients = run_kernel(c);
      const RefTensor dout = case_inputs(c)[5];
      for (int64_t b = 0; b < 2; ++b) {
        for (int64_t e = 0; e < 128; ++e) {
          double want = 0, got = 0, size = 0;
          for (int64_t i = 0; i < 150; ++i) {
            const double x = dout.f[static_cast<size_t>((b * 150 + i) * 128 + e)];
            want += x;
            size += std::fabs(x) + std::fabs(gradients[2].at((b * 150 + i) * 128 + e));
            got += gradients[2].at((b * 150 + i) * 128 + e);
          }
          ASSERT_NEAR(got, want, unit_of(dtype) * size);
        }
      }
    }
  }
}

// With v the identity out is the mask times the probabilities, and with dout the identity dv is that,
// transposed: keys equal, so a probability is dropped where it is 0.
TEST(AttentionProperties, TheGradientDropsWhatTheForwardPassDropped) {
  for (const DType dtype : dtypes()) {
    for (const int64_t n : {24, 64, 150}) {
      const Asked s{.batch = 2,
                    .queries = n,
                    .keys = n,
                    .heads = 2,
                    .key_heads = 2,
                    .width = 8,
                    .value_width = n,
                    .dropout = 0.3,
                    .dtype = dtype};
      OpCase c = given(forward(s));
      RefTensor identity(dtype, {2, n, 2, n});
      for (int64_t b = 0; b < 2; ++b) {
        for (int64_t j = 0; j < n; ++j) {
          for (int64_t h = 0; h < 2; ++h)
            identity.f[static_cast<size_t>((((b * n + j) * 2) + h) * n + j)] = 1;
        }
      }
      c = with_input(with_input(c, 1, RefTensor(dtype, {2, n, 2, 8})), 2, identity);
      const std::vector<Tensor> out = run_kernel(c);
      OpCase grad = backward(c);
      grad = with_input(grad, 5, identity);
      const std::vector<Tensor> gradients = run_kernel(grad);
      int64_t dropped = 0;
      for (int64_t b = 0; b < 2; ++b) {
        for (int64_t h = 0; h < 2; ++h) {
          for (int64_t i = 0; i < n; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              const bool forward_drops = out[0].at((((b * n + i) * 2) + h) * n + j) == 0;
              const bool backward_drops = gradients[2].at((((b * n + j) * 2) + h) * n + i) == 0;
              ASSERT_EQ(forward_drops, backward_drops) << b << " " << h << " " << i << " " << j;
              dropped += forward_drops ? 1 : 0;
            }
          }
        }
      }
      const double pairs = 4.0 * static_cast<double>(n * n);
      EXPECT_NEAR(static_cast<double>(dropped) / pairs, 0.3, 4 * std::sqrt(0.21 / pairs));
    }
  }
}

// Two halves of the keys, each with its lse, make the whole: the weights exp(lse) of their outputs. One half
// may be empty.
TEST(AttentionProperties, HalvesMergeIntoTheWhole) {
  for (const DType dtype : dtypes()) {
    const Asked s{.batch = 2,
                  .queries = 20,
                  .keys = 150,
                  .width = 32,
                  .value_width = 32,
                  .lengths = {150, 60},
                  .dtype = dtype};
    const OpCase c = given(forward(s));
    const std::vector<RefTensor> inputs = case_inputs(c);
    const std::vector<Tensor> whole = run_kernel(c);
    std::vector<std::vector<Tensor>> halves;
    for (const int64_t first : {0, 75}) {
      Asked half = s;
      half.keys = 75;
      half.lengths = first == 0 ? std::vector<int32_t>{75, 60} : std::vector<int32_t>{75, 0};
      OpCase part = with_input(given(forward(half)), 0, inputs[0]);
      for (const size_t k : {1, 2}) {
        RefTensor x(dtype, {2, 75, 2, 32});
        for (int64_t b = 0; b < 2; ++b)
          std::copy_n(inputs[k].f.begin() + (b * 150 + first) * 64, 75 * 64, x.f.begin() + b * 75 * 64);
        part = with_input(part, k, x);
      }
      halves.push_back(run_kernel(part));
    }
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t i = 0; i < 20; ++i) {
        for (int64_t h = 0; h < 2; ++h) {
          const int64_t row = (b * 2 + h) * 20 + i;
          const double x = halves[0][1].at(row), y = halves[1][1].at(row), top = std::max(x, y);
          const double sum = std::exp(x - top) + std::exp(y - top);
          ASSERT_NEAR(whole[1].at(row), top + std::log(sum), 0x1p-19);
          for (int64_t d = 0; d < 32; ++d) {
            const int64_t at = ((b * 20 + i) * 2 + h) * 32 + d;
            const double merged =
                (std::exp(x - top) * halves[0][0].at(at) + std::exp(y - top) * halves[1][0].at(at)) / sum;
            ASSERT_NEAR(whole[0].at(at), merged, 4 * unit_of(dtype));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace floe
