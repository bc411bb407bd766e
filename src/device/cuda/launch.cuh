// The one way a kernel is started. For .cu files.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

#include "device/cuda/check.h"
#include "device/cuda/overlap.cuh"

namespace floe {

struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;  // dynamic
  unsigned cluster = 1;     // blocks of a thread block cluster along x; more than 1 from sm_90 on
  bool overlap = false;     // may start before the kernel before it has ended: overlap.cuh has the rule
};

// The attributes of a start, where cudaLaunchConfig_t finds them.
struct LaunchAttributes {
  cudaLaunchAttribute list[2] = {};

  LaunchAttributes(const LaunchShape& shape, cudaLaunchConfig_t* config) {
    unsigned count = 0;
    if (shape.cluster > 1) {
      list[count].id = cudaLaunchAttributeClusterDimension;
      list[count].val.clusterDim.x = shape.cluster;
      list[count].val.clusterDim.y = list[count].val.clusterDim.z = 1;
      ++count;
    }
    if (shape.overlap && device_can_overlap()) {
      list[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
      list[count].val.programmaticStreamSerializationAllowed = 1;
      ++count;
    }
    config->attrs = list;
    config->numAttrs = count;
  }
  LaunchAttributes(const LaunchAttributes&) = delete;
  LaunchAttributes& operator=(const LaunchAttributes&) = delete;
};

// `stream` is KernelRun::stream. Nothing is started for an empty grid. Throws Error{device} naming the
// kernel.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape, void* stream,
            Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  if (shape.shared_bytes > 48 * 1024) {
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)),
               name);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  const LaunchAttributes attributes(shape, &config);
  check_cuda(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), name);
}

// The same for a kernel of a Device::Module that takes one parameter.
inline void launch_built(const char* name, void* kernel, const LaunchShape& shape, void* stream,
                         void* parameter) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  const LaunchAttributes attributes(shape, &config);
  void* arguments[] = {parameter};
  check_cuda(cudaLaunchKernelExC(&config, kernel, arguments), name);
}

// Blocks needed for n items, `per_block` each. Grids are one-dimensional where n may pass 65,535 blocks.
inline unsigned blocks_for(int64_t n, int64_t per_block) {
  return static_cast<unsigned>((n + per_block - 1) / per_block);
}

}  // namespace floe
