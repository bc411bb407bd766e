// What attention can be asked for beyond causal masks, lengths and dropout: windows, lengths of queries, a
// cap of the logits, a bias, ALiBi's slopes, gradients through lse; alone and together.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "ops/all.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_cases_for_test.h"
#include "testing/op_case.h"

namespace floe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Two of the CPU's blocks of 64 keys and more, so that windows begin and end within them, at their edges and
// blocks away.
std::vector<Asked> large_cases() {
  std::vector<Asked> all;
  for (const char* causal : {"none", "top_left", "bottom_right"}) {
    for (const auto& [left, right] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 0}, {3, 5}, {64, -1}, {-1, 64}, {70, 1}, {200, 200}}) {
      all.push_back({.queries = 150, .keys = 201, .causal = causal, .left = left, .right = right});
      all.push_back({.queries = 201, .keys = 150, .causal = causal, .left = left, .right = right});
    }
    all.push_back({.batch = 3,
                   .queries = 70,
                   .keys = 90,
                   .heads = 4,
                   .key_heads = 2,
                   .causal = causal,
                   .lengths = {90, 0, 41},
                   .query_lengths = {70, 20, 33}});
    all.push_back({.batch = 4,
                   .queries = 140,
                   .keys = 140,
                   .width = 24,
                   .value_width = 16,
                   .causal = causal,
                   .lengths = {140, 100, 3, 64},
                   .query_lengths = {0, 100, 130, 65},
                   .left = 20,
                   .right = 3,
                   .softcap = 2,
                   .bias_batch = 4,
                   .bias_heads = 1,
                   .slopes = true,
                   .dropout = 0.2});
  }
  all.push_back({.batch = 2, .queries = 5, .keys = 130, .query_lengths = {5, 2}});
  all.push_back({.queries = 40, .keys = 150, .width = 64, .value_width = 64, .softcap = 5});
  all.push_back({.queries = 40, .keys = 150, .heads = 6, .key_heads = 2, .slopes = true});
  for (const auto& [batch, heads] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {1, 4}, {3, 1}, {3, 4}}) {
    all.push_back({.batch = 3,
                   .queries = 67,
                   .keys = 70,
                   .heads = 4,
                   .key_heads = 2,
                   .bias_batch = batch,
                   .bias_heads = heads,
                   .dropout = heads == 1 ? 0.3 : 0});
  }
  all.push_back({.queries = 0, .bias_batch = 1, .bias_heads = 1});
  all.push_back({.keys = 0, .query_lengths = {3, 5}, .bias_batch = 2, .bias_heads = 2});
  all.push_back({.batch = 0, .bias_batch = 1, .bias_heads = 2, .slopes = true});
  return all;
}

// The bounds of attention_test.cc: a cap and a bias add three roundings to a logit.
TEST(AttentionFeatures, HaveTheReferencesValues) {
  for (const Asked& s : large_cases()) {
    SCOPED_TRACE(text_of(s));
    OpCase c = forward(s);
    c.ulps = 64;
    check_kernel(c);
  }
}

TEST(AttentionFeatures, HaveTheReferencesGradients) {
  for (const Asked& s : large_cases()) {
    SCOPED_TRACE(text_of(s));
    OpCase c = every_gradient(s);
    c.ulps = 64 * 20;
    check_kernel(c);
  }
}

std::vector<Asked> small_cases() {
  std::vector<Asked> all;
  for (const char* causal : {"none", "top_left", "bottom_right"}) {
    all.push_back({.queries = 6, .keys = 7, .causal = causal, .left = 2, .right = 1});
    all.push_back({.queries = 7, .keys = 5, .causal = causal, .left = 1});
    all.push_back({.queries = 6,
                   .keys = 6,
                   .causal = causal,
                   .lengths = {6, 4},
                   .query_lengths = {3, 6},
                   .left = 3,
                   .right = 2,
                   .softcap = 2,
                   .bias_batch = 2,
                   .bias_heads = 1,
                   .slopes = true,
                   .dropout = 0.5});
  }
  all.push_back({.heads = 4, .softcap = 0.5, .bias_batch = 1, .bias_heads = 4});
  all.push_back({.query_lengths = {5, 2}, .slopes = true});
  all.push_back({.lengths = {0, 3}, .query_lengths = {5, 2}, .bias_batch = 1, .bias_heads = 1});
  return all;
}

// Head size 16, rate 1/2 and caps that are powers of two: the meaning's constants are f32, and these are
// exact in it.
TEST(AttentionFeatures, MeanWhatTheyCompute) {
  for (Asked s : small_cases()) {
    SCOPED_TRACE(text_of(s));
    s.width = 16;
    check_meaning(forward(s));
    check_meaning(every_gradient(s));
    OpCase weights = forward(s);
    if (s.dropout > 0) continue;
    weights.op = "attention_weights";
    weights.inputs.erase(weights.inputs.begin() + 2);
    check_meaning(weights);
  }
}

// Of cases whose every query sees a key: a lse of -inf has no difference quotient.
TEST(AttentionFeatures, HaveTheRightGradients) {
  std::vector<Asked> all = {{.heads = 4, .softcap = 0.5, .bias_batch = 1, .bias_heads = 4},
                            {.queries = 7, .keys = 7, .left = 1},
                            {.lengths = {3, 6}, .bias_batch = 2, .bias_heads = 1, .slopes = true}};
  for (const char* causal : {"none", "top_left", "bottom_right"}) {
    all.push_back({.queries = 6,
                   .keys = 7,
                   .causal = causal,
                   .left = 2,
                   .right = 1,
                   .softcap = 2,
                   .bias_batch = 1,
                   .bias_heads = 1,
                   .slopes = true,
                   .dropout = 0.5});
  }
  for (const Asked& s : all) {
    SCOPED_TRACE(text_of(s));
    check_gradient(forward(s));
  }
}

OpCase with_input(OpCase c, size_t input, const RefTensor& value) {
  c.inputs[input] = CaseInput::of(tensor_of(value));
  return c;
}

void expect_same_bits(const std::vector<Tensor>& want, const std::vector<Tensor>& got) {
  ASSERT_EQ(want.size(), got.size());
  for (size_t k = 0; k < want.size(); ++k) {
    ASSERT_EQ(want[k].shape(), got[k].shape());
    EXPECT_TRUE(want[k].bytes() == 0 || std::memcmp(want[k].data(), got[k].data(), want[k].bytes()) == 0)
        << "result " << k;
  }
}

// What lies outside a window or a length is not read, whatever it is.
TEST(AttentionFeatures, LeaveWhatIsNotSeenUnread) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Asked s{.batch = 1, .queries = 3, .keys = 200, .lengths = {190}, .query_lengths = {2}, .left = 70};
  const OpCase c = forward(s);
  const std::vector<RefTensor> inputs = case_inputs(c);
  // Queries stand at keys 188 and 189 and see 118..189: none of them the first 118 or the last 10.
  OpCase spoilt = c;
  for (const size_t i : {1, 2}) {
    RefTensor x = inputs[i];
    for (int64_t j = 0; j < 200; ++j) {
      if (j < 118 || j >= 190) std::fill_n(x.f.begin() + j * 16, 16, nan);
    }
    spoilt = with_input(spoilt, i, x);
  }
  RefTensor q = inputs[0];
  std::fill_n(q.f.begin() + 2 * 16, 16, nan);
  spoilt = with_input(spoilt, 0, q);
  expect_same_bits(run_kernel(c), run_kernel(spoilt));
  const OpCase clean = every_gradient(s);
  OpCase grad = clean;
  for (const size_t i : {0, 1, 2}) grad.inputs[i] = spoilt.inputs[i];
  expect_same_bits(run_kernel(clean), run_kernel(grad));
}

// A row with lengths gives what it gives alone, and the places are its own.
TEST(AttentionFeatures, GiveARowWithLengthsTheValuesOfItAlone) {
  for (const char* causal : {"none", "top_left", "bottom_right"}) {
    Asked s{.batch = 3,
            .queries = 90,
            .keys = 100,
            .causal = causal,
            .lengths = {100, 40, 77},
            .query_lengths = {90, 50, 20},
            .left = 30,
            .right = 4};
    const OpCase together = forward(s);
    const std::vector<RefTensor> inputs = case_inputs(together);
    const std::vector<Tensor> all = run_kernel(together);
    for (int64_t b = 0; b < 3; ++b) {
      Asked one{.batch = 1,
                .queries = s.query_lengths[static_cast<size_t>(b)],
                .keys = s.lengths[static_cast<size_t>(b)],
                .causal = causal,
                .left = 30,
                .right = 4};
      OpCase alone = forward(one);
      for (size_t i = 0; i < 3; ++i) {
        const int64_t rows = i == 0 ? one.queries : one.keys, longest = i == 0 ? 90 : 100;
        RefTensor x(DType::f32, {1, rows, 2, 8});
        std::copy_n(inputs[i].f.begin() + b * longest * 16, rows * 16, x.f.begin());
        alone = with_input(alone, i, x);
      }
      const std::vector<Tensor> got = run_kernel(alone);
      for (int64_t i = 0; i < 90 * 16; ++i) {
        const double want = i < one.queries * 16 ? got[0].at(i) : 0;
        ASSERT_EQ(all[0].at(b * 90 * 16 + i), want) << causal << " row " << b << " at " << i;
      }
    }
  }
}

TEST(AttentionFeatures, GiveNothingToQueriesThatDoNotExist) {
  const Asked s{
      .batch = 2, .queries = 9, .keys = 9, .query_lengths = {4, 0}, .bias_batch = 2, .bias_heads = 2};
  const std::vector<Tensor> result = run_kernel(forward(s));
  OpCase grad = every_gradient(s);
  for (const size_t i : {3, 5}) {  // out and dout of those queries are not read, either
    RefTensor x = case_inputs(grad)[i];
    std::fill(x.f.begin() + 4 * 16, x.f.end(), std::numeric_limits<double>::quiet_NaN());
    grad = with_input(grad, i, x);
  }
  const std::vector<Tensor> gradients = run_kernel(grad);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t i = b == 0 ? 4 : 0; i < 9; ++i) {
      for (int64_t e = 0; e < 16; ++e) {
        ASSERT_EQ(result[0].at((b * 9 + i) * 16 + e), 0);
        ASSERT_EQ(gradients[0].at((b * 9 + i) * 16 + e), 0);
      }
      for (int64_t h = 0; h < 2; ++h) {
        ASSERT_EQ(result[1].at((b * 2 + h) * 9 + i), -kInfinity);
        for (int64_t j = 0; j < 9; ++j) ASSERT_EQ(gradients[3].at(((b * 2 + h) * 9 + i) * 9 + j), 0);
      }
    }
  }
  for (const Tensor& gradient : gradients) {
    for (int64_t i = 0; i < gradient.size(); ++i) ASSERT_TRUE(std::isfinite(gradient.at(i)));
  }
}

// A bias of -inf hides a key as a mask does; of the lowest number, for all keys, changes nothing but lse.
TEST(AttentionFeatures, HideKeysByABias) {
  const Asked s{.batch = 1, .queries = 3, .keys = 80, .bias_batch = 1, .bias_heads = 1};
  RefTensor bias(DType::f32, {1, 1, 3, 80});
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t j = 0; j < 80; ++j)
      bias.f[static_cast<size_t>(i * 80 + j)] = i == 2 ? -kInfinity : (j < 50 ? 0 : -kInfinity);
  }
  OpCase c = with_input(forward(s), 3, bias);
  check_kernel(c);
  const OpCase hidden = [&] {
    OpCase grad = backward(with_input(forward(s), 3, bias));
    grad.attrs.set("bias_gradient", true);
    return grad;
  }();
  for (const Tensor& gradient : run_kernel(hidden)) {
    for (int64_t i = 0; i < gradient.size(); ++i) ASSERT_TRUE(std::isfinite(gradient.at(i)));
  }
  std::fill(bias.f.begin(), bias.f.end(), -static_cast<double>(std::numeric_limits<float>::max()));
  const std::vector<Tensor> low = run_kernel(with_input(forward(s), 3, bias));
  for (int64_t i = 0; i < low[0].size(); ++i) ASSERT_TRUE(std::isfinite(low[0].at(i)));
}

TEST(AttentionFeatures, TakeScalesOfZeroAndBelow) {
  for (const double scale : {-0.5, 1e-30}) {
    const Asked s{.queries = 20, .keys = 90, .causal = "bottom_right", .scale = scale};
    OpCase c = forward(s);
    c.ulps = 64;
    check_kernel(c);
    if (scale < 0) {
      c = every_gradient(s);
      c.ulps = 64 * 20;
      check_kernel(c);
    }
  }
  OpCase c = forward({.queries = 20, .keys = 90});
  c.attrs.set("scale", 0.0);
  c.ulps = 64;
  check_kernel(c);
  const std::vector<Tensor> gradients = run_kernel(backward(c));
  for (const size_t k : {0, 1}) {
    for (int64_t i = 0; i < gradients[k].size(); ++i) ASSERT_EQ(gradients[k].at(i), 0);
  }
}

TEST(AttentionFeatures, TakeHeadSizesOfEveryKind) {
  for (const int64_t width : {8, 40, 59, 72, 80, 111, 160, 257, 320, 512}) {
    const Asked s{.batch = 1,
                  .queries = 33,
                  .keys = 70,
                  .heads = 1,
                  .key_heads = 1,
                  .width = width,
                  .value_width = width,
                  .causal = "top_left"};
    SCOPED_TRACE(text_of(s));
    OpCase c = forward(s);
    c.ulps = 64;
    check_kernel(c);
    c = every_gradient(s);
    c.ulps = 64 * 20;
    check_kernel(c);
  }
}

class AttentionFeaturesRefuse : public testing::Test {
 protected:
  Graph graph_{all_ops(), "refusals"};
  Builder b_{graph_};
  Value q_ = b_.input("q", {DType::f32, {Dim(2), Dim(3), Dim(4), Dim(8)}});
  Value k_ = b_.input("k", {DType::f32, {Dim(2), Dim(5), Dim(4), Dim(8)}});
  Value bias_ = b_.input("bias", {DType::f32, {Dim(2), Dim(4), Dim(3), Dim(5)}});
  Value slopes_ = b_.input("slopes", {DType::f32, {Dim(4)}});

  template <class F>
  static std::string message(F body) {
    try {
      body();
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
  std::string of(AttentionArgs args) {
    args.q = q_;
    args.k = args.v = k_;
    return message([&] { attention(b_, args); });
  }
};

TEST_F(AttentionFeaturesRefuse, AttributesThatMeanNothing) {
  EXPECT_EQ(of({.window_left = -1}),
            "[attention] window_left must be 0 or above, or absent where all is seen, got -1");
  EXPECT_EQ(of({.window_right = -7}),
            "[attention] window_right must be 0 or above, or absent where all is seen, got -7");
  EXPECT_EQ(of({.softcap = -2}), "[attention] softcap must be 0 (none) or a number above it, got -2");
  Attrs attrs{{"causal", std::string("none")}, {"scale", 1.0}, {"lengths", false}, {"dlse", true}};
  EXPECT_EQ(message([&] { b_.add_all("attention", {q_, k_, k_}, attrs); }),
            "[attention] dlse is for attention_grad alone");
  attrs.set("dlse", false);
  attrs.set("bias_gradient", true);
  EXPECT_EQ(message([&] { b_.add_all("attention", {q_, k_, k_}, attrs); }),
            "[attention] bias_gradient is for attention_grad alone");
}

TEST_F(AttentionFeaturesRefuse, ShapesThatDoNotFit) {
  EXPECT_EQ(of({.query_lengths = slopes_}), "[attention] query_lengths must be i32[2], got f32[4]");
  EXPECT_EQ(of({.slopes = bias_}), "[attention] slopes must be f32[4], got f32[2, 4, 3, 5]");
  EXPECT_EQ(of({.bias = slopes_}), "[attention] bias must be f32[2 or 1, 4 or 1, 3, 5], got f32[4]");
  EXPECT_EQ(of({.bias = bias_}), "accepted");
  const Attrs attrs{{"causal", std::string("none")}, {"scale", 1.0}, {"lengths", false}, {"slopes", true}};
  EXPECT_EQ(message([&] { b_.add_all("attention", {q_, k_, k_}, attrs); }),
            "[attention] takes 4 inputs with lengths = false, slopes = true and dropout = 0, got 3");
}

TEST_F(AttentionFeaturesRefuse, ToGiveAGradientOfSlopes) {
  OpCase c = forward(Asked{.slopes = true});
  c.inputs[3].differentiate = true;
  EXPECT_EQ(message([&] { check_gradient(c); }),
            "[attention] slopes get no gradient; a bias, which has one, can hold what they make");
}

// The text of a graph that asks for none of it is what it was before there was any.
TEST(AttentionFeatures, LeaveNoTraceWhereTheyAreNotAskedFor) {
  Graph graph(all_ops(), "plain");
  Builder b(graph);
  const Value q = b.input("q", {DType::f32, {Dim(2), Dim(3), Dim(4), Dim(16)}});
  const AttentionArgs args{q, q, q};
  const AttentionResult result = attention(b, args);
  const Value gradient = attention_grad(b, args, result, q).dq;
  for (const Value value : {result.out, gradient}) {
    EXPECT_EQ(graph.producer(value).attrs.text(),
              "{causal = \"none\", dropout = 0.0, lengths = false, op_id = 0, scale = 0.25}");
  }
}

}  // namespace
}  // namespace floe
