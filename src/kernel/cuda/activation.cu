#include "kernel/cuda/activation.h"

#include <algorithm>
#include <iterator>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/activation.cuh"
#include "kernel/cuda/row.cuh"

namespace floe {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 132 * 8 * 4;  // four rounds of a full H100

// 16 bytes a thread and step; the last, shorter piece goes element by element.
template <class T, CudaActivation A>
__global__ void __launch_bounds__(kThreads) activate(T* x, const T* bias, int64_t n, int64_t columns) {
  constexpr int kVector = 16 / sizeof(T);
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  const auto added = [&](float value, int64_t at) {
    return bias == nullptr ? value : value + to_float(bias[at % columns]);
  };
  const int64_t words = n / kVector;
  for (int64_t word = thread; word < words; word += step) {
    float values[kVector];
    load_floats(x + word * kVector, values);
#pragma unroll
    for (int k = 0; k < kVector; ++k) values[k] = activated<A>(added(values[k], word * kVector + k));
    store_floats(x + word * kVector, values);
  }
  for (int64_t i = words * kVector + thread; i < n; i += step) {
    x[i] = from_float<T>(activated<A>(added(to_float(x[i]), i)));
  }
}

template <class T, CudaActivation A>
void start(const ActivationCall& call, void* stream) {
  const int64_t n = call.rows * call.columns;
  const int64_t threads = (n * static_cast<int64_t>(sizeof(T)) + 15) / 16;
  const unsigned blocks = static_cast<unsigned>(std::min((threads + kThreads - 1) / kThreads, kMostBlocks));
  launch("activate", activate<T, A>, {.grid = dim3(blocks), .block = dim3(kThreads)}, stream,
         static_cast<T*>(call.x), static_cast<const T*>(call.bias), n, call.columns);
}

template <class T>
void choose(const ActivationCall& call, void* stream) {
  switch (call.activation) {
    case CudaActivation::none:
      return start<T, CudaActivation::none>(call, stream);
    case CudaActivation::relu:
      return start<T, CudaActivation::relu>(call, stream);
    case CudaActivation::gelu:
      return start<T, CudaActivation::gelu>(call, stream);
    case CudaActivation::gelu_tanh:
      return start<T, CudaActivation::gelu_tanh>(call, stream);
    case CudaActivation::silu:
      return start<T, CudaActivation::silu>(call, stream);
    case CudaActivation::sigmoid:
      return start<T, CudaActivation::sigmoid>(call, stream);
    case CudaActivation::tanh:
      return start<T, CudaActivation::tanh>(call, stream);
  }
}

}  // namespace

bool find_activation(std::string_view name, CudaActivation* activation) {
  constexpr std::string_view kNames[] = {"", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh"};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) {
      *activation = static_cast<CudaActivation>(i);
      return true;
    }
  }
  return false;
}

void apply_activation(const ActivationCall& call, void* stream) {
  if (call.type == DType::bf16) {
    choose<__nv_bfloat16>(call, stream);
  } else {
    choose<float>(call, stream);
  }
}

}  // namespace floe
