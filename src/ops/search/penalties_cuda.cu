// search_penalties on the GPU. A block has a slice of a row and touches nothing outside it; over its input it
// writes only what changes, and a row whose options are neutral costs the reading of its options.
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "ops/search/penalties_cuda.cuh"
#include "ops/search/search_kernel.h"

namespace floe {
namespace {

__global__ void __launch_bounds__(kPenaltyThreads)
    penalties_kernel(const __grid_constant__ PenaltiesCall call, int64_t slice, int64_t slices) {
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x / slices;
  const int64_t first = blockIdx.x % slices * slice;
  apply_penalties(call, PenaltyOptions(call, row), row, first, ::min(first + slice, call.vocabulary));
}

void run_penalties(const KernelRun& run, int64_t beam) {
  const int64_t rows = run.outputs[0].dim(0);
  const PenaltiesCall call = penalties_call(run, beam);
  if (rows == 0 || call.vocabulary == 0) return;
  const int64_t slice = call.out == call.logits ? call.vocabulary : kPenaltySlice;
  const int64_t slices = (call.vocabulary + slice - 1) / slice;
  launch(
      "search_penalties", penalties_kernel,
      {.grid = dim3(static_cast<unsigned>(rows * slices)), .block = dim3(kPenaltyThreads), .overlap = true},
      run.stream, call, slice, slices);
}

}  // namespace

void add_search_penalties_cuda(KernelTable& table) {
  Kernel kernel;
  kernel.op = "search_penalties";
  kernel.device = DeviceKind::cuda;
  kernel.name = "search_penalties.f32";
  kernel.in_place = {{0, 0}};
  kernel.supports = [](const KernelSignature& s) {
    return s.inputs[kLogits] == DType::f32 && s.inputs[kRepetition] == DType::f32;
  };
  kernel.bind = [](const KernelCall& call) {
    const int64_t beam = call.attrs.integer("beam");
    return BoundKernel{0, [beam](const KernelRun& run) { run_penalties(run, beam); }, {}};
  };
  table.add(std::move(kernel));
}

}  // namespace floe
