#include "kernel/cuda/gemm_trial.h"

namespace floe {
namespace {

size_t bytes(int64_t n, DType type) { return static_cast<size_t>(n) * size_of(type); }

}  // namespace

// 0.0115 in bf16: small, and no zeros, on which cards run faster than on data.
GemmTrial::Memory::Memory(size_t size) {
  if (size == 0) return;
  check_cuda(cudaMalloc(&data, size), "memory to measure a matrix product");
  check_cuda(cudaMemset(data, 0x3C, size), "cudaMemset");
}

GemmTrial::GemmTrial(const CudaGemmShape& s, size_t workspace_bytes)
    : a_(bytes(s.batch * s.m * s.k, s.in)),
      b_(bytes(s.batch * s.k * s.n, s.in)),
      c_(bytes(s.batch * s.m * s.n, s.out)),
      bias_(s.bias ? bytes(s.n, s.out) : 0),
      sums_(s.sums == GemmSums::none ? 0 : bytes(s.sums == GemmSums::of_a ? s.m : s.n, DType::f32)),
      workspace_(workspace_bytes) {
  FLOE_CUDA_CALL(cudaStreamCreate(&stream_));
  FLOE_CUDA_CALL(cudaEventCreate(&start_));
  FLOE_CUDA_CALL(cudaEventCreate(&stop_));
}

GemmTrial::~GemmTrial() {
  cudaEventDestroy(start_);
  cudaEventDestroy(stop_);
  cudaStreamDestroy(stream_);
}

CudaGemm::Operands GemmTrial::operands() const {
  return {
      .a = a_.data, .b = b_.data, .c = c_.data, .bias = bias_.data, .sums = static_cast<float*>(sums_.data)};
}

}  // namespace floe
