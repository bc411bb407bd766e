// A bias's gradient in the epilogue of its weight's, from a graph to what a GPU's program runs.
#include <gtest/gtest.h>

#include "ir/print.h"
#include "ops/all.h"
#include "testing/program_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

// A linear layer's backward part in bf16: 3 * 40 rows.
Graph backward() {
  return parse(all_ops(),
               "graph \"g\" {\n"
               "  %0 = input {dims = <3, 40, 24>, dtype = bf16, name = \"x\"} : bf16[3, 40, 24]\n"
               "  %1 = input {dims = <3, 40, 16>, dtype = bf16, name = \"dy\"} : bf16[3, 40, 16]\n"
               "  %2 = reshape(%0) {dims = <120, 24>} : bf16[120, 24]\n"
               "  %3 = reshape(%1) {dims = <120, 16>} : bf16[120, 16]\n"
               "  %4 = matmul(%3, %2) {out = f32, transpose_a = true} : f32[16, 24]\n"
               "  %5 = reduce_sum(%3) {axes = [0], keep = false} : bf16[16]\n"
               "  %6 = cast(%5) {dtype = f32} : f32[16]\n"
               "  return \"dw\" = %4\n"
               "  return \"db\" = %6\n"
               "}\n");
}

TEST(BiasGradients, AProgramForAGpuMakesThemInOneStep) {
  const auto program = compile({backward()}, kernels_of(DeviceKind::cuda), {.device = DeviceKind::cuda});
  ASSERT_EQ(program->entries[0].steps.size(), 1);
  EXPECT_EQ(program->entries[0].steps[0].kernel, "linear_grad.cublaslt");
}

// Sums of 120 terms, not rounded to bf16: that would be 2^16 units.
TEST(BiasGradients, AreF32SumsOnAGpu) {
  FLOE_NEEDS_CUDA();
  check_program(
      backward(),
      {{"x", random_shared(DType::bf16, {3, 40, 24}, 1)}, {"dy", random_shared(DType::bf16, {3, 40, 16}, 2)}},
      {}, 32 + 120);
}

}  // namespace
}  // namespace floe
