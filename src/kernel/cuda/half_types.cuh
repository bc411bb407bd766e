// Storage types of floating tensors on the GPU: float, __nv_bfloat16, __half. Arithmetic is done in float.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace floe {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_float(__half x) { return __half2float(x); }

// Rounded half to even.
template <class T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

// Two neighbours in one word, `low` at the lower address.
template <class T>
__device__ uint32_t pack_pair(float low, float high);
template <>
__device__ inline uint32_t pack_pair<__nv_bfloat16>(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
template <>
__device__ inline uint32_t pack_pair<__half>(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// The 16 bytes of a uint4 as eight values of a 2-byte type, or four floats.
template <class T>
__device__ inline void unpack16(const uint4& bits, float* to) {
  constexpr int kCount = 16 / sizeof(T);
  const T* from = reinterpret_cast<const T*>(&bits);
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = to_float(from[i]);
}

}  // namespace floe
