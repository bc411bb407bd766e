// linear_grad of bf16: either order of operands, with the library's sums and with our own.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "testing/op_case.h"

namespace floe {
namespace {

OpCase case_of(int64_t rows, int64_t in, int64_t out, bool input_first) {
  OpCase c{
      .op = "linear_grad",
      .inputs = {CaseInput::normal({rows, in}, DType::bf16), CaseInput::normal({rows, out}, DType::bf16)},
      .attrs = {{"input_first", input_first}}};
  // Nothing is rounded but f32 sums of `rows` terms, as in matmul.
  c.ulps = static_cast<double>(32 + rows);
  return c;
}

TEST(LinearGradCuda, Bf16InEitherOrderAndAnyAlignment) {
  FLOE_NEEDS_CUDA();
  for (const auto& [rows, in, out] : {std::array<int64_t, 3>{512, 64, 128},
                                      {512, 128, 64},
                                      {1024, 256, 768},
                                      {264, 40, 72},
                                      {77, 41, 101},
                                      {100, 42, 50},
                                      {1025, 1, 3},
                                      {129, 3, 1},
                                      {1, 64, 8},
                                      {1, 1, 1}}) {
    for (const bool input_first : {false, true}) {
      SCOPED_TRACE(fmt::format("{} rows, {} to {}{}", rows, in, out, input_first ? ", input first" : ""));
      check_kernel(case_of(rows, in, out, input_first));
    }
  }
}

TEST(LinearGradCuda, ManyRowsOrColumns) {
  FLOE_NEEDS_CUDA();
  for (const bool input_first : {false, true}) {
    check_kernel(case_of(70001, 8, 16, input_first));
    check_kernel(case_of(16, 8, 70008, input_first));
    check_kernel(case_of(16, 70001, 3, input_first));
  }
}

// Without columns of x there is no product, but dy still has its sums.
TEST(LinearGradCuda, OfSizeZero) {
  FLOE_NEEDS_CUDA();
  for (const bool input_first : {false, true}) {
    check_kernel(case_of(0, 8, 16, input_first));
    check_kernel(case_of(300, 0, 16, input_first));
    check_kernel(case_of(300, 16, 0, input_first));
    check_kernel(case_of(0, 0, 0, input_first));
  }
}

// A sum of what x multiplies by 0 is not lost, nor is a NaN or an infinity of dy.
TEST(LinearGradCuda, NanAndInfinityReachTheSums) {
  FLOE_NEEDS_CUDA();
  for (const bool input_first : {false, true}) {
    for (const int64_t rows : {64, 77}) {
      OpCase c = case_of(rows, 16, 24, input_first);
      Tensor x(DType::bf16, {rows, 16}), dy(DType::bf16, {rows, 24});
      for (int64_t i = 0; i < x.size(); ++i) x.set(i, i % 3 == 0 ? 1 : 0.5);
      for (int64_t i = 0; i < dy.size(); ++i) dy.set(i, i % 2 == 0 ? 1 : -0.25);
      dy.set(24 * 5 + 2, std::numeric_limits<double>::quiet_NaN());
      dy.set(24 * 7 + 9, std::numeric_limits<double>::infinity());
      c.inputs[0] = CaseInput::of(std::move(x));
      c.inputs[1] = CaseInput::of(std::move(dy));
      check_kernel(c);
      c.inputs[0] = CaseInput::of(Tensor(DType::bf16, {rows, 16}));  // zeros
      c.inputs[1] = CaseInput::normal({rows, 24}, DType::bf16);
      check_kernel(c);
    }
  }
}

}  // namespace
}  // namespace floe
