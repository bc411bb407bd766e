// The weight's gradient by slices of rows, whether or not it is the fastest way, and shapes for which it is
// tried.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "kernel/cuda/gemm_trial.h"
#include "kernel/cuda/sliced_gemm.h"
#include "testing/op_case.h"

namespace floe {
namespace {

Tensor normal(const Shape& shape, uint64_t seed) {
  Tensor made(DType::bf16, shape);
  std::mt19937_64 random(seed);
  std::normal_distribution<double> values;
  for (int64_t i = 0; i < made.size(); ++i) made.set(i, values(random));
  return made;
}

DeviceBuffer uploaded(Device& device, const Tensor& tensor) {
  DeviceBuffer buffer(device, tensor.bytes());
  device.upload(buffer.data(), tensor.data(), tensor.bytes());
  device.wait();
  return buffer;
}

struct Got {
  Tensor product, sums;
};

Got multiplied(Device& device, const SlicedGemm& gemm, const CudaGemmShape& s, const Tensor& a,
               const Tensor& b) {
  Got got{Tensor(DType::f32, {s.m, s.n}), Tensor(DType::f32, {s.sums == GemmSums::of_b ? s.n : s.m})};
  const DeviceBuffer a_there = uploaded(device, a), b_there = uploaded(device, b);
  const DeviceBuffer c(device, got.product.bytes()), sums(device, got.sums.bytes()),
      workspace(device, gemm.workspace());
  gemm.run(
      {.a = a_there.data(), .b = b_there.data(), .c = c.data(), .sums = static_cast<float*>(sums.data())},
      workspace.data(), static_cast<cudaStream_t>(device.stream()));
  device.download(got.product.data(), c.data(), got.product.bytes());
  if (s.sums != GemmSums::none) device.download(got.sums.data(), sums.data(), got.sums.bytes());
  device.wait();
  return got;
}

TEST(LinearGradSlices, AddUpToTheWholeWithAndWithoutARest) {
  FLOE_NEEDS_CUDA();
  const std::unique_ptr<Device> device = open_cuda_device();
  for (const int64_t rows : {1025, 3072, 4099, 16384}) {
    for (const auto& [out, in] : {std::array<int64_t, 2>{96, 72}, {64, 128}, {45, 33}}) {
      for (const GemmSums which : {GemmSums::none, GemmSums::of_a, GemmSums::of_b}) {
        SCOPED_TRACE(fmt::format("{} rows, {} to {}, sums {}", rows, in, out, static_cast<int>(which)));
        const bool input_first = which == GemmSums::of_b;  // as linear_grad has it
        const CaseInput x = CaseInput::of(normal({rows, in}, 1)), dy = CaseInput::of(normal({rows, out}, 2));
        OpCase c{.op = "linear_grad", .inputs = {x, dy}, .attrs = {{"input_first", input_first}}};
        const std::vector<RefTensor> want = reference(c);
        const CudaGemmShape shape{.m = input_first ? in : out,
                                  .n = input_first ? out : in,
                                  .k = rows,
                                  .transpose_a = true,
                                  .in = DType::bf16,
                                  .out = DType::f32,
                                  .sums = which};
        const auto gemm = SlicedGemm::make(shape);
        ASSERT_NE(gemm, nullptr);
        const Got got =
            multiplied(*device, *gemm, shape, *(input_first ? x : dy).value, *(input_first ? dy : x).value);
        const auto ulps = static_cast<double>(32 + rows);  // f32 sums of `rows` terms
        expect_close(got.product, want[0], ulps, "dweight");
        if (which != GemmSums::none) expect_close(got.sums, want[1], ulps, "dbias");
        const GemmTrial trial(shape, gemm->workspace());
        EXPECT_FALSE(trial.varies([&] { gemm->run(trial.operands(), trial.workspace(), trial.stream()); }));
      }
    }
  }
}

TEST(LinearGradSlices, AreForOnePlainProductOfRowsToF32) {
  FLOE_NEEDS_CUDA();
  const CudaGemmShape good{
      .m = 96, .n = 72, .k = 4096, .transpose_a = true, .in = DType::bf16, .out = DType::f32};
  EXPECT_NE(SlicedGemm::make(good), nullptr);
  CudaGemmShape s = good;
  s.transpose_a = false;
  EXPECT_EQ(SlicedGemm::make(s), nullptr);
  s = good;
  s.transpose_b = true;
  EXPECT_EQ(SlicedGemm::make(s), nullptr);
  s = good;
  s.accumulate = true;
  EXPECT_EQ(SlicedGemm::make(s), nullptr);
  s = good;
  s.out = DType::bf16;
  EXPECT_EQ(SlicedGemm::make(s), nullptr);
  s = good;
  s.k = 32;
  EXPECT_EQ(SlicedGemm::make(s), nullptr);
}

TEST(LinearGradSlices, WhicheverWayIsTaken) {
  FLOE_NEEDS_CUDA();
  for (const auto& [rows, in, out] : {std::array<int64_t, 3>{3072, 64, 256},
                                      {1025, 256, 128},
                                      {4099, 72, 96},
                                      {16384, 64, 64},
                                      {16411, 40, 33}}) {
    for (const bool input_first : {false, true}) {
      SCOPED_TRACE(fmt::format("{} rows, {} to {}{}", rows, in, out, input_first ? ", input first" : ""));
      OpCase c{
          .op = "linear_grad",
          .inputs = {CaseInput::normal({rows, in}, DType::bf16), CaseInput::normal({rows, out}, DType::bf16)},
          .attrs = {{"input_first", input_first}}};
      c.ulps = static_cast<double>(32 + rows);
      check_kernel(c);
    }
  }
}

}  // namespace
}  // namespace floe
