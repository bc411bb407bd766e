// What only the GPU's products have: bf16 operands, f32 sums of them, epilogues and passes after the product,
// rows of odd lengths.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <string>

#include "testing/op_case.h"

namespace floe {
namespace {

struct Form {
  bool transpose_a = false, transpose_b = false, bias = false;
  std::string activation = "";
  bool wide = false;  // f32 out of bf16
};

OpCase case_of(DType type, Shape a, Shape b, const Form& form = {}) {
  const int64_t n = form.transpose_b ? b[b.size() - 2] : b.back();
  const int64_t k = form.transpose_b ? b.back() : b[b.size() - 2];
  OpCase c{.op = "matmul",
           .inputs = {CaseInput::normal(std::move(a), type), CaseInput::normal(std::move(b), type)},
           .attrs = {{"transpose_a", form.transpose_a},
                     {"transpose_b", form.transpose_b},
                     {"activation", form.activation}}};
  if (form.wide) c.attrs.set("out", DType::f32);
  if (form.bias) c.inputs.push_back(CaseInput::normal({n}, form.wide ? DType::f32 : type));
  // f32 sums of k products err by less than k eps / 2 of their root sum of squares, the result's rms; beside
  // bf16 that is nothing. One rounding to bf16 is one unit; before an activation in a pass of our own there
  // is another, times a slope of 1.13 at most.
  c.ulps = type != DType::bf16 || form.wide ? static_cast<double>(32 + k)
           : form.activation.empty()        ? 2
                                            : 2.25;
  return c;
}

// k, n and m around multiples of 8, the 16 bytes that the fast algorithms need.
TEST(MatmulCuda, Bf16InEveryFormAndAlignment) {
  FLOE_NEEDS_CUDA();
  for (const bool wide : {false, true}) {
    for (const auto& [m, k, n] : {std::array<int64_t, 3>{64, 128, 96},
                                  {37, 41, 101},
                                  {40, 42, 100},
                                  {33, 44, 50},
                                  {1, 700, 64},
                                  {1, 1, 1},
                                  {129, 1, 3},
                                  {5, 1025, 1}}) {
      SCOPED_TRACE(fmt::format("{} x {} x {}{}", m, k, n, wide ? " to f32" : ""));
      for (const bool ta : {false, true}) {
        for (const bool tb : {false, true}) {
          check_kernel(case_of(DType::bf16, ta ? Shape{k, m} : Shape{m, k}, tb ? Shape{n, k} : Shape{k, n},
                               {.transpose_a = ta, .transpose_b = tb, .wide = wide}));
        }
      }
    }
  }
}

TEST(MatmulCuda, Bf16InBatches) {
  FLOE_NEEDS_CUDA();
  for (const bool wide : {false, true}) {
    check_kernel(case_of(DType::bf16, {2, 3, 5, 7}, {7, 11}, {.wide = wide}));
    check_kernel(case_of(DType::bf16, {2, 3, 5, 7}, {2, 3, 7, 11}, {.wide = wide}));
    check_kernel(case_of(DType::bf16, {4, 16, 64}, {4, 24, 64}, {.transpose_b = true, .wide = wide}));
    check_kernel(case_of(DType::bf16, {2, 3, 7, 5}, {2, 3, 11, 7},
                         {.transpose_a = true, .transpose_b = true, .wide = wide}));
  }
}

// Past 65,535, the most blocks of a grid's second and third dims.
TEST(MatmulCuda, ManyRowsOrProducts) {
  FLOE_NEEDS_CUDA();
  for (const DType type : {DType::f32, DType::bf16}) {
    check_kernel(case_of(type, {70001, 8}, {8, 3}));
    check_kernel(case_of(type, {2, 8}, {8, 70001}, {.bias = true}));
    check_kernel(case_of(type, {70001, 2, 3}, {70001, 3, 2}, {.activation = "silu"}));
  }
}

TEST(MatmulCuda, AddsABiasAndAppliesAnActivation) {
  FLOE_NEEDS_CUDA();
  for (const DType type : {DType::f32, DType::bf16}) {
    for (const char* name : {"", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh"}) {
      SCOPED_TRACE(name);
      check_kernel(
          case_of(type, {40, 64}, {72, 64}, {.transpose_b = true, .bias = true, .activation = name}));
      check_kernel(
          case_of(type, {33, 20}, {51, 20}, {.transpose_b = true, .bias = true, .activation = name}));
      check_kernel(case_of(type, {2, 2, 8}, {2, 8, 5}, {.bias = true, .activation = name}));
      check_kernel(case_of(type, {7, 9}, {9, 1}, {.bias = true, .activation = name}));
    }
  }
  check_kernel(case_of(DType::bf16, {33, 20}, {20, 51}, {.bias = true, .activation = "gelu", .wide = true}));
}

TEST(MatmulCuda, Bf16OfSizeZero) {
  FLOE_NEEDS_CUDA();
  for (const bool wide : {false, true}) {
    check_kernel(case_of(DType::bf16, {0, 4}, {4, 5}, {.bias = true, .wide = wide}));
    check_kernel(case_of(DType::bf16, {3, 4}, {4, 0}, {.wide = wide}));
    check_kernel(case_of(DType::bf16, {3, 0}, {0, 5}, {.wide = wide}));
    check_kernel(case_of(DType::bf16, {0, 3, 4}, {0, 4, 5}, {.activation = "gelu", .wide = wide}));
    for (const char* name : {"", "relu", "sigmoid"}) {
      check_kernel(case_of(DType::bf16, {3, 0}, {0, 21}, {.bias = true, .activation = name, .wide = wide}));
    }
  }
}

TEST(MatmulCuda, NanAndInfinityPassThroughEpilogues) {
  FLOE_NEEDS_CUDA();
  for (const DType type : {DType::f32, DType::bf16}) {
    for (const int64_t k : {5, 64}) {
      for (const char* name : {"", "relu", "gelu_tanh", "sigmoid"}) {
        SCOPED_TRACE(fmt::format("{} {} {}", name_of(type), k, name));
        OpCase c = case_of(type, {3, k}, {k, 24}, {.bias = true, .activation = name});
        Tensor a(type, {3, k}), b(type, {k, 24});
        a.set(0, 1);
        a.set(k, std::numeric_limits<double>::quiet_NaN());
        a.set(2 * k, std::numeric_limits<double>::infinity());
        for (int64_t i = 0; i < b.size(); ++i) b.set(i, i % 2 == 0 ? 1 : -1);
        c.inputs[0] = CaseInput::of(std::move(a));
        c.inputs[1] = CaseInput::of(std::move(b));
        check_kernel(c);
      }
    }
  }
}

// What one algorithm promises; other numbers of rows may have another one.
TEST(MatmulCuda, ARowHasTheSameBitsWhateverTheOthersHold) {
  FLOE_NEEDS_CUDA();
  for (const DType type : {DType::f32, DType::bf16}) {
    for (const auto& [m, k, n] : {std::array<int64_t, 3>{200, 512, 520}, {37, 4099, 21}}) {
      const auto last_row = [&](double scale) {
        Tensor a(type, {m, k});
        for (int64_t i = 0; i < a.size(); ++i) {
          const double value = static_cast<double>((i * 7919) % 1009) / 1009 - 0.4;
          a.set(i, i < (m - 1) * k ? value * scale : value);
        }
        OpCase c = case_of(type, {m, k}, {n, k}, {.transpose_b = true, .bias = true, .activation = "relu"});
        c.inputs[0] = CaseInput::of(std::move(a));
        Tensor y = std::move(run_kernel(c)[0]);
        const auto* bytes = static_cast<const char*>(y.data());
        return std::string(bytes + (m - 1) * n * static_cast<int64_t>(size_of(type)), bytes + y.bytes());
      };
      EXPECT_EQ(last_row(1), last_row(-3.7)) << name_of(type) << " " << m;
    }
  }
}

}  // namespace
}  // namespace floe
