// Shared memory by address, as the copy engine and the tensor cores of sm_90 know it (warp_mma.cuh's
// shared_address()).
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace floe {

__device__ inline float2 load_shared_float2(uint32_t at) {
  float2 x;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];\n" : "=f"(x.x), "=f"(x.y) : "r"(at) : "memory");
  return x;
}
__device__ inline float4 load_shared_float4(uint32_t at) {
  float4 x;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];\n"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "r"(at)
               : "memory");
  return x;
}
__device__ inline void store_shared_float4(uint32_t at, const float4& x) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};\n" ::"r"(at), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w)
               : "memory");
}
// Four 8 x 8 matrices in the registers that load_matrices() fills, transposed: lane l gives the address of
// what becomes row l % 8 of matrix l / 8.
__device__ inline void store_matrices_transposed(uint32_t row, const uint32_t* x) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(row),
               "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3])
               : "memory");
}

}  // namespace floe
