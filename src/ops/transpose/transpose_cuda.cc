// One strided copy with the input's strides permuted, of any type.
#include "kernel/cuda/strided_copy.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

BoundKernel bind(const KernelCall& call) {
  const View &x = call.inputs[0], &y = call.outputs[0];
  const std::vector<int64_t>& perm = call.attrs.integers("perm");
  CopyPlan plan{.rank = y.rank, .dims = y.dims, .to = y.strides, .element = size_of(y.dtype)};
  for (int i = 0; i < y.rank; ++i) plan.from[i] = x.strides[perm[static_cast<size_t>(i)]];
  plan = simplify(plan);
  return {0, [plan](const KernelRun& run) {
            queue_strided_copy(plan, run.inputs[0].data, run.outputs[0].data, run.stream);
          }};
}

}  // namespace

void add_transpose_cuda(KernelTable& table) {
  table.add({.op = "transpose",
             .device = DeviceKind::cuda,
             .name = "transpose.any",
             .supports = [](const KernelSignature&) { return true; },
             .bind = bind,
             .strided_inputs = 1});
}

}  // namespace floe
