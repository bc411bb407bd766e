// What it takes to measure a product: memory of its operands' sizes, a stream, and a clock.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

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

  // A C of up to so many bytes is one that a kernel might split k for: 512 x 512 floats are 16 tiles.
  static constexpr size_t kWatched = size_t{1} << 20;

  // Whether C or the sums have other bits in one of several runs. Never of a C above kWatched, whose tiles
  // fill a card without a split. `run` queues on stream().
  template <class F>
  bool varies(F run) const {
    if (c_.size > kWatched) return false;
    constexpr int kRuns = 8;
    const std::vector<char> first = results_of(run);
    for (int i = 1; i < kRuns; ++i) {
      if (results_of(run) != first) return true;
    }
    return false;
  }

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
    void clear(cudaStream_t stream) const;
    void append_to(std::vector<char>* bytes, cudaStream_t stream) const;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    void* data = nullptr;
    size_t size = 0;
  };

  // C and the sums after one run, to which C was zeros.
  template <class F>
  std::vector<char> results_of(F run) const {
    c_.clear(stream_);
    run();
    std::vector<char> results;
    c_.append_to(&results, stream_);
    sums_.append_to(&results, stream_);
    return results;
  }

  Memory a_, b_, c_, bias_, sums_, workspace_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};

}  // namespace floe
