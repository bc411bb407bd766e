// Products that libraries split k for: a C of few elements and a long k.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>
#include <utility>

#include "kernel/cuda/gemm.h"
#include "kernel/cuda/gemm_trial.h"
#include "testing/op_case.h"

namespace floe {
namespace {

TEST(MatmulCuda, GivesTheSameBitsAtEveryRun) {
  FLOE_NEEDS_CUDA();
  const std::unique_ptr<Device> device = open_cuda_device();
  for (const DType in : {DType::f32, DType::bf16}) {
    for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 3},
                               {3, 1},
                               {16, 8},
                               {1, 2000},
                               {2000, 1},
                               {5, 1001},
                               {1500, 12},
                               {64, 64},
                               {200, 96}}) {
      for (const int64_t k : {129, 1025, 16384}) {
        for (const bool transpose_a : {false, true}) {
          SCOPED_TRACE(fmt::format("{} {} x {} x {}{}", name_of(in), m, n, k, transpose_a ? ", a^T" : ""));
          const CudaGemmShape shape{.m = m, .n = n, .k = k, .transpose_a = transpose_a, .in = in};
          const CudaGemm gemm(shape);
          const GemmTrial trial(shape, gemm.workspace());
          EXPECT_FALSE(trial.varies([&] { gemm.run(trial.operands(), trial.workspace(), trial.stream()); }));
        }
      }
    }
  }
}

TEST(MatmulCuda, MakesBatchesOfSmallProducts) {
  FLOE_NEEDS_CUDA();
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      for (const auto& shape : {std::array<int64_t, 4>{1, 5, 7, 300}, {4, 32, 32, 257}, {3, 1, 40, 1}}) {
        const auto [batch, m, n, k] = shape;
        OpCase c{
            .op = "matmul",
            .inputs = {CaseInput::normal(transpose_a ? Shape{batch, k, m} : Shape{batch, m, k}, DType::bf16),
                       CaseInput::normal(transpose_b ? Shape{batch, n, k} : Shape{batch, k, n}, DType::bf16)},
            .attrs = {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}}};
        c.ulps = 2;  // rounded once; a sum of 300 terms in f32 errs by less than 2^-14 of its rms
        check_kernel(c);
      }
    }
  }
}

}  // namespace
}  // namespace floe
