#include "ops/row_linear/row_linear.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

// x [3, 4], w [5, 4] and what the attributes say.
OpCase case_of(const std::string& norm, bool keep_norm = false) {
  OpCase c{.op = "row_linear",
           .inputs = {CaseInput::normal({3, 4}), CaseInput::normal({5, 4})},
           .attrs = {{"norm", norm},
                     {"eps", 1e-5},
                     {"activation", std::string("gelu")},
                     {"bias", true},
                     {"residual", true},
                     {"out", DType::f32}}};
  if (!norm.empty()) c.inputs.push_back(CaseInput::normal({4}));
  if (norm == "layer_norm") c.inputs.push_back(CaseInput::normal({4}));
  if (keep_norm) c.attrs.set("keep_norm", true);
  c.inputs.push_back(CaseInput::normal({5}));
  c.inputs.push_back(CaseInput::normal({3, 5}));
  return c;
}

// The normed row as the formula has it.
std::vector<double> normed(const std::vector<RefTensor>& in, const std::string& norm, size_t row) {
  std::vector<double> x(in[0].f.begin() + static_cast<long>(row * 4),
                        in[0].f.begin() + static_cast<long>(row * 4 + 4));
  if (norm.empty()) return x;
  const bool centred = norm == "layer_norm";
  double mean = 0, square = 0;
  for (const double value : x) mean += centred ? value / 4 : 0;
  for (const double value : x) square += (value - mean) * (value - mean) / 4;
  for (size_t k = 0; k < 4; ++k)
    x[k] = (x[k] - mean) / std::sqrt(square + 1e-5) * in[2].f[k] + (centred ? in[3].f[k] : 0);
  return x;
}

TEST(RowLinear, NormsMultipliesActivatesAndAdds) {
  for (const char* norm : {"", "rms_norm", "layer_norm"}) {
    const OpCase c = case_of(norm, *norm != '\0');
    const std::vector<RefTensor> in = case_inputs(c);
    const std::vector<RefTensor> got = reference(c);
    ASSERT_EQ(got.size(), *norm != '\0' ? 2u : 1u);
    const RefTensor &bias = in[in.size() - 2], &residual = in[in.size() - 1];
    for (size_t row = 0; row < 3; ++row) {
      const std::vector<double> x = normed(in, norm, row);
      for (size_t k = 0; k < 4 && got.size() > 1; ++k) EXPECT_NEAR(got[1].f[row * 4 + k], x[k], 1e-12);
      for (size_t j = 0; j < 5; ++j) {
        double sum = bias.f[j];
        for (size_t k = 0; k < 4; ++k) sum += x[k] * in[1].f[j * 4 + k];
        const double gelu = 0.5 * sum * (1 + std::erf(sum / std::sqrt(2.0)));
        EXPECT_NEAR(got[0].f[row * 5 + j], gelu + residual.f[row * 5 + j], 1e-12) << norm;
      }
    }
  }
}

TEST(RowLinear, ItsMeaningHasAGradient) {
  for (const char* norm : {"", "rms_norm", "layer_norm"}) check_gradient(case_of(norm), 1e-5);
}

TEST(RowLinear, ItsBuilderSaysWhichOperandsThereAre) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const auto input = [&](const char* name, Dims dims, DType type) { return b.input(name, {type, dims}); };
  const RowLinear y = row_linear(b, {.x = input("x", {2, 3, 4}, DType::bf16),
                                     .w = input("w", {5, 4}, DType::bf16),
                                     .norm = "rms_norm",
                                     .gamma = input("gamma", {4}, DType::f32),
                                     .eps = 1e-6,
                                     .keep_norm = true,
                                     .residual = input("r", {2, 3, 5}, DType::f32),
                                     .out = DType::bf16});
  EXPECT_EQ(text_of(b.type(y.y)), "bf16[2, 3, 5]");
  EXPECT_EQ(text_of(b.type(y.normed)), "bf16[2, 3, 4]");
  EXPECT_EQ(graph.producer(y.y).inputs.size(), 4u);
}

TEST(RowLinear, RefusesWhatDoesNotFit) {
  struct Wrong {
    Dims w = {5, 4}, gamma = {4}, bias = {5}, residual = {2, 5};
    DType w_type = DType::f32, out = DType::f32;
    std::string norm = "rms_norm";
    bool keep_norm = false, says_bias = true;
  };
  const auto message = [](const Wrong& wrong) -> std::string {
    Graph graph(all_ops(), "g");
    Builder b(graph);
    Values inputs{b.input("x", {DType::f32, {2, 4}}), b.input("w", {wrong.w_type, wrong.w})};
    if (!wrong.norm.empty()) inputs.push_back(b.input("gamma", {DType::f32, wrong.gamma}));
    inputs.push_back(b.input("bias", {DType::f32, wrong.bias}));
    inputs.push_back(b.input("residual", {DType::f32, wrong.residual}));
    try {
      b.add_all("row_linear", inputs,
                {{"norm", wrong.norm},
                 {"eps", 1e-5},
                 {"bias", wrong.says_bias},
                 {"residual", true},
                 {"keep_norm", wrong.keep_norm},
                 {"out", wrong.out}});
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message({}), "accepted");
  EXPECT_EQ(message({.w = {5, 3}}),
            "[row_linear] x must be [..., in] and w [out, in] of one type, got f32[2, 4] and f32[5, 3]");
  EXPECT_EQ(message({.w_type = DType::bf16}),
            "[row_linear] x must be [..., in] and w [out, in] of one type, got f32[2, 4] and bf16[5, 4]");
  EXPECT_EQ(message({.w = {5}}), "[row_linear] input 1 must have rank 2, got f32[5]");
  EXPECT_EQ(message({.gamma = {5}}), "[row_linear] gamma must be [4], got f32[5]");
  EXPECT_EQ(message({.bias = {4}}), "[row_linear] bias must be [5], got f32[4]");
  EXPECT_EQ(message({.residual = {2, 4}}),
            "[row_linear] residual must have the result's dims, got f32[2, 4]");
  EXPECT_EQ(message({.out = DType::i32}), "[row_linear] out must be a floating type, is i32");
  EXPECT_EQ(message({.norm = "batch_norm"}), "[row_linear] norm must be layer_norm or rms_norm");
  EXPECT_EQ(message({.norm = "", .keep_norm = true}), "[row_linear] keep_norm needs a norm");
  EXPECT_EQ(message({.says_bias = false}), "[row_linear] the attributes speak of 4 operands, there are 5");
}

}  // namespace
}  // namespace floe
