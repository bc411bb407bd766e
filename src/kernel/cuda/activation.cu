#include "kernel/cuda/activation.h"

#include <algorithm>
#include <iterator>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/activation.cuh"
#include "kernel/cuda/half_types.cuh"

namespace floe {
namespace {

template <class T, CudaActivation A>
__global__ void activate(T* x, const T* bias, int64_t n, int64_t columns) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    const float b = bias == nullptr ? 0.0f : to_float(bias[i % columns]);
    x[i] = from_float<T>(activated<A>(to_float(x[i]) + b));
  }
}

template <class T, CudaActivation A>
void start(const ActivationCall& call, void* stream) {
  constexpr int kThreads = 256;
  const int64_t n = call.rows * call.columns;
  const int64_t blocks = std::min<int64_t>((n + kThreads - 1) / kThreads, 132 * 16);
  launch("activate", activate<T, A>, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads)}, stream,
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
