// CUDA calls give codes; this turns them into Error{device} with what was being done. Light enough for .cu
// files.
#pragma once
#include <cuda_runtime_api.h>

namespace floe {

// Throws Error{device} unless `code` is cudaSuccess: "cudaMemcpyAsync (copying 12 bytes): an illegal memory
// access was encountered".
void check_cuda(cudaError_t code, const char* what);

}  // namespace floe

#define FLOE_CUDA_CALL(call) ::floe::check_cuda((call), #call)
