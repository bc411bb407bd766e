// What it takes to measure a product: memory of its operands' sizes, a stream, and a clock.
#pragma once
#include <cstddef>
#include <functional>
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
  cudaStream_t stream() const { return stream_; }  // where what is measured queues its work

  // A C of up to so many bytes is one that a kernel might split k for: 512 x 512 floats are 16 tiles.
  static constexpr size_t kWatched = size_t{1} << 20;

  // Whether C or the sums have other bits in one of several runs. Never of a C above kWatched, whose tiles
  // fill a card without a split.
  bool varies(const std::function<void()>& run) const;

  // Of one run in milliseconds: several are recorded as a CUDA graph, as training runs them, and the least of
  // three plays counts.
  double time(const std::function<void()>& run) const;

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
  std::vector<char> results_of(const std::function<void()>& run) const;

  Memory a_, b_, c_, bias_, sums_, workspace_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};

}  // namespace floe
