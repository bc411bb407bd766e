// Counts along one axis, the same in all others.
#include "kernel/kernel.h"

namespace floe {

void add_iota_cpu(KernelTable& table) {
  Kernel kernel;
  kernel.op = "iota";
  kernel.name = "iota.i32";
  kernel.supports = [](const KernelSignature&) { return true; };
  kernel.bind = [](const KernelCall& call) -> BoundKernel {
    const View& out = call.outputs[0];
    const int64_t attr_axis = call.attrs.integer("axis");
    const int axis = static_cast<int>(attr_axis < 0 ? attr_axis + out.rank : attr_axis);
    const int64_t start = call.attrs.integers("start")[0];
    int64_t inner = 1;
    for (int i = axis + 1; i < out.rank; ++i) inner *= out.dims[i];
    const int64_t length = out.dims[axis];
    const int64_t size = out.size();
    return {0, [=](const KernelRun& run) {
              auto* to = run.outputs[0].as<int32_t>();
              for (int64_t at = 0; at < size;) {
                for (int64_t k = 0; k < length; ++k) {
                  for (int64_t i = 0; i < inner; ++i) to[at++] = static_cast<int32_t>(start + k);
                }
              }
            }};
  };
  table.add(std::move(kernel));
}

}  // namespace floe
