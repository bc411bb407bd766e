// One strided copy from where the slice begins, of any type.
#include "base/error.h"
#include "kernel/cuda/strided_copy.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

BoundKernel bind(const KernelCall& call) {
  const View &x = call.inputs[0], &y = call.outputs[0];
  const int64_t given = call.attrs.integer("axis");
  const auto axis = static_cast<int>(given < 0 ? given + x.rank : given);
  const int64_t begin = call.attrs.integers("begin")[0];
  FLOE_CHECK(begin >= 0 && begin + y.dims[axis] <= x.dims[axis], "slice {} + {} of {}", begin, y.dims[axis],
             x.dims[axis]);
  const CopyPlan plan = simplify(
      {.rank = y.rank, .dims = y.dims, .from = x.strides, .to = y.strides, .element = size_of(y.dtype)});
  const int64_t offset = begin * x.strides[axis] * static_cast<int64_t>(plan.element);
  return {0, [plan, offset](const KernelRun& run) {
            queue_strided_copy(plan, run.inputs[0].as<char>() + offset, run.outputs[0].data, run.stream);
          }};
}

}  // namespace

void add_slice_cuda(KernelTable& table) {
  table.add({.op = "slice",
             .device = DeviceKind::cuda,
             .name = "slice.any",
             .supports = [](const KernelSignature&) { return true; },
             .bind = bind,
             .strided_inputs = 1});
}

}  // namespace floe
