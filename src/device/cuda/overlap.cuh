// Programmatic dependent launch (sm_90): a kernel that is started with LaunchShape::overlap may begin while
// the kernel queued before it still runs. Its blocks take their places and read weights in the shadow of that
// one's end; what is saved is the microsecond between two kernels. A recording keeps it as an edge of the
// graph.
//
// The rule. Every thread of a kernel started with `overlap` calls wait_for_previous() before it reads or
// writes anything that another kernel touches, and before it returns: a grid that ends without having waited
// would let the kernel after it run beside the one before it. Frozen weights (KernelCall::frozen_inputs), the
// kernel's parameters and shared memory may be used before. What may be read only after the wait must not be
// read through __ldg or a const __restrict__ pointer: the cache behind those does not see what was written
// while the kernel already ran.
//
// A kernel calls let_next_start() when it no longer minds sharing its processors, mostly at once: the next
// one's blocks start when every block of this one has called it or ended. What they wait for is the whole
// end of this grid, so nothing need be written before the call. Without the call that is the grid's end.
#pragma once
#include <cuda_runtime.h>

#include "device/cuda/check.h"

namespace floe {

#ifdef __CUDACC__
// Until the kernel queued before this one has ended and what it wrote can be seen. Nothing where this one
// was not started with `overlap`.
__device__ inline void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}
__device__ inline void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}
#endif

// Is the current device one whose code waits? Devices before sm_90 cannot, later ones run what was compiled
// for sm_80.
inline bool device_can_overlap() {
  int device = 0, major = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
             "cudaDeviceGetAttribute");
  return major == 9;
}

}  // namespace floe
