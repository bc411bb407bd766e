// Counts along one axis, the same in all others.
#include "device/cuda/launch.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    iota_kernel(int32_t* to, int64_t size, int64_t length, int64_t inner, int64_t start) {
  let_next_start();
  wait_for_previous();
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < size) to[at] = static_cast<int32_t>(start + at / inner % length);
}

BoundKernel bind(const KernelCall& call) {
  const View& out = call.outputs[0];
  const int64_t given = call.attrs.integer("axis");
  const int axis = static_cast<int>(given < 0 ? given + out.rank : given);
  const int64_t start = call.attrs.integers("start")[0];
  int64_t inner = 1;
  for (int i = axis + 1; i < out.rank; ++i) inner *= out.dims[i];
  const int64_t length = out.dims[axis], size = out.size();
  return {0, [=](const KernelRun& run) {
            launch("iota", iota_kernel,
                   {.grid = dim3(blocks_for(size, kThreads)), .block = dim3(kThreads), .overlap = true},
                   run.stream, run.outputs[0].as<int32_t>(), size, length, inner, start);
          }};
}

}  // namespace

void add_iota_cuda(KernelTable& table) {
  table.add({.op = "iota",
             .device = DeviceKind::cuda,
             .name = "iota.i32",
             .supports = [](const KernelSignature&) { return true; },
             .bind = bind});
}

}  // namespace floe
