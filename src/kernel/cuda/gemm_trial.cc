#include "kernel/cuda/gemm_trial.h"

#include <algorithm>
#include <cstdint>
#include <random>

namespace floe {
namespace {

size_t bytes(int64_t n, DType type) { return static_cast<size_t>(n) * size_of(type); }

// Numbers between 2^-7 and 2^-3 of either sign, in bf16 and as halves of floats: sums of them show their
// order, and cards run faster on zeros than on data. A prime number of them, so that no part of k repeats
// another.
const std::vector<uint16_t>& numbers() {
  static const std::vector<uint16_t> made = [] {
    std::vector<uint16_t> words(65521);
    std::minstd_rand random(1);
    for (uint16_t& word : words) {
      const auto bits = static_cast<unsigned>(random() >> 8);
      word = static_cast<uint16_t>(0x3C00 + bits % 0x200 + ((bits & 0x200) << 6));
    }
    return words;
  }();
  return made;
}

}  // namespace

GemmTrial::Memory::Memory(size_t bytes) : size(bytes) {
  if (size == 0) return;
  check_cuda(cudaMalloc(&data, size), "memory to measure a matrix product");
  const std::vector<uint16_t>& source = numbers();
  size_t filled = std::min(size, source.size() * sizeof(uint16_t));
  FLOE_CUDA_CALL(cudaMemcpy(data, source.data(), filled, cudaMemcpyHostToDevice));
  while (filled < size) {
    const size_t more = std::min(filled, size - filled);
    FLOE_CUDA_CALL(cudaMemcpy(static_cast<char*>(data) + filled, data, more, cudaMemcpyDeviceToDevice));
    filled += more;
  }
}

void GemmTrial::Memory::clear(cudaStream_t stream) const {
  if (size > 0) FLOE_CUDA_CALL(cudaMemsetAsync(data, 0, size, stream));
}

void GemmTrial::Memory::append_to(std::vector<char>* bytes, cudaStream_t stream) const {
  if (size == 0) return;
  bytes->resize(bytes->size() + size);
  char* to = bytes->data() + bytes->size() - size;
  FLOE_CUDA_CALL(cudaMemcpyAsync(to, data, size, cudaMemcpyDeviceToHost, stream));
  FLOE_CUDA_CALL(cudaStreamSynchronize(stream));
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

std::vector<char> GemmTrial::results_of(const std::function<void()>& run) const {
  c_.clear(stream_);
  run();
  std::vector<char> results;
  c_.append_to(&results, stream_);
  sums_.append_to(&results, stream_);
  return results;
}

bool GemmTrial::varies(const std::function<void()>& run) const {
  if (c_.size > kWatched) return false;
  constexpr int kRuns = 8;
  const std::vector<char> first = results_of(run);
  for (int i = 1; i < kRuns; ++i) {
    if (results_of(run) != first) return true;
  }
  return false;
}

double GemmTrial::time(const std::function<void()>& run) const {
  constexpr int kRecorded = 4, kPlays = 3;
  run();  // code is loaded before anything is recorded
  cudaGraph_t graph = nullptr;
  FLOE_CUDA_CALL(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kRecorded; ++i) run();
  FLOE_CUDA_CALL(cudaStreamEndCapture(stream_, &graph));
  cudaGraphExec_t recorded = nullptr;
  FLOE_CUDA_CALL(cudaGraphInstantiate(&recorded, graph, 0));
  FLOE_CUDA_CALL(cudaGraphDestroy(graph));
  float least = 0;
  for (int i = 0; i < kPlays; ++i) {
    FLOE_CUDA_CALL(cudaEventRecord(start_, stream_));
    FLOE_CUDA_CALL(cudaGraphLaunch(recorded, stream_));
    FLOE_CUDA_CALL(cudaEventRecord(stop_, stream_));
    FLOE_CUDA_CALL(cudaEventSynchronize(stop_));
    float milliseconds = 0;
    FLOE_CUDA_CALL(cudaEventElapsedTime(&milliseconds, start_, stop_));
    least = i == 0 ? milliseconds : std::min(least, milliseconds);
  }
  FLOE_CUDA_CALL(cudaGraphExecDestroy(recorded));
  return static_cast<double>(least) / kRecorded;
}

CudaGemm::Operands GemmTrial::operands() const {
  return {
      .a = a_.data, .b = b_.data, .c = c_.data, .bias = bias_.data, .sums = static_cast<float*>(sums_.data)};
}

}  // namespace floe
