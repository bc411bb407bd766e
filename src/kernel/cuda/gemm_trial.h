// What it takes to measure a product: memory of its operands' sizes, a stream, and a clock.
#pragma once
#include <algorithm>
#include <cstddef>

#include "device/cuda/check.h"
#include "kernel/cuda/gemm.h"

namespace floe {

class GemmTrial {
 public:
  GemmTrial(const CudaGemmShape& shape, size_t workspace_bytes);
  ~GemmTrial();
  GemmTrial(const GemmTrial&) = delete;
  GemmTrial& operator=(const GemmTrial&) = delete;

  CudaGemm::Operands operands() const;
  void* workspace() const { return workspace_.data; }
  cudaStream_t stream() const { return stream_; }

  // The least of three runs, in milliseconds. `run` queues on stream().
  template <class F>
  double time(F run) const {
    constexpr int kRuns = 3;
    float least = 0;
    for (int i = 0; i < kRuns; ++i) {
      FLOE_CUDA_CALL(cudaEventRecord(start_, stream_));
      run();
      FLOE_CUDA_CALL(cudaEventRecord(stop_, stream_));
      FLOE_CUDA_CALL(cudaEventSynchronize(stop_));
      float milliseconds = 0;
      FLOE_CUDA_CALL(cudaEventElapsedTime(&milliseconds, start_, stop_));
      least = i == 0 ? milliseconds : std::min(least, milliseconds);
    }
    return static_cast<double>(least);
  }

 private:
  struct Memory {
    explicit Memory(size_t bytes);
    ~Memory() { cudaFree(data); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    void* data = nullptr;
  };

  Memory a_, b_, c_, bias_, sums_, workspace_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};

}  // namespace floe
