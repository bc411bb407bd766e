// What a kernel's choice of launch asks of the device that is current.
#pragma once
#include <cuda_runtime_api.h>

#include "device/cuda/check.h"

namespace floe {

inline int current_device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&value, attribute, device), "cudaDeviceGetAttribute");
  return value;
}

inline int multiprocessors() { return current_device_attribute(cudaDevAttrMultiProcessorCount); }

// Whether code for sm_90a runs: on compute capability 9.0 and no other.
inline bool device_is_sm90() {
  return current_device_attribute(cudaDevAttrComputeCapabilityMajor) == 9 &&
         current_device_attribute(cudaDevAttrComputeCapabilityMinor) == 0;
}

}  // namespace floe
