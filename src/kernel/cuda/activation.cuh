// The activations as device functions: as the rows of these names in ops/elementwise/functions.cc.
#pragma once
#include <cuda_runtime.h>

#include "kernel/cuda/activation.h"

namespace floe {

template <CudaActivation A>
__device__ float activated(float x) {
  if constexpr (A == CudaActivation::relu) return isnan(x) ? x : fmaxf(x, 0.0f);
  if constexpr (A == CudaActivation::gelu) return 0.5f * x * (1.0f + erff(0.70710678118654752f * x));
  if constexpr (A == CudaActivation::gelu_tanh)
    return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  if constexpr (A == CudaActivation::silu) return x * (1.0f / (1.0f + expf(-x)));
  if constexpr (A == CudaActivation::sigmoid) return 1.0f / (1.0f + expf(-x));
  if constexpr (A == CudaActivation::tanh) return tanhf(x);
  return x;
}

// Chosen while running: for kernels whose time it does not matter to.
__device__ inline float activated(CudaActivation which, float x) {
  switch (which) {
    case CudaActivation::relu:
      return activated<CudaActivation::relu>(x);
    case CudaActivation::gelu:
      return activated<CudaActivation::gelu>(x);
    case CudaActivation::gelu_tanh:
      return activated<CudaActivation::gelu_tanh>(x);
    case CudaActivation::silu:
      return activated<CudaActivation::silu>(x);
    case CudaActivation::sigmoid:
      return activated<CudaActivation::sigmoid>(x);
    case CudaActivation::tanh:
      return activated<CudaActivation::tanh>(x);
    default:
      return x;
  }
}

}  // namespace floe
