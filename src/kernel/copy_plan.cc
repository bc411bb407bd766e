#include "kernel/copy_plan.h"

namespace floe {

CopyPlan simplify(CopyPlan plan) {
  CopyPlan out;
  out.element = plan.element;
  for (int i = 0; i < plan.rank; ++i) {
    if (plan.dims[i] == 1) continue;
    const int last = out.rank - 1;
    if (last >= 0 && out.from[last] == plan.from[i] * plan.dims[i] &&
        out.to[last] == plan.to[i] * plan.dims[i]) {
      out.dims[last] *= plan.dims[i];
      out.from[last] = plan.from[i];
      out.to[last] = plan.to[i];
      continue;
    }
    out.dims[out.rank] = plan.dims[i];
    out.from[out.rank] = plan.from[i];
    out.to[out.rank] = plan.to[i];
    ++out.rank;
  }
  if (out.rank == 0) {
    out.rank = 1;
    out.dims[0] = out.from[0] = out.to[0] = 1;
  }
  return out;
}

Kernel copy_kernel(const CopyKernel& what, DeviceKind device, RunCopy run) {
  Kernel kernel;
  kernel.op = what.op;
  kernel.device = device;
  kernel.name = what.op + ".any";
  kernel.supports = [](const KernelSignature&) { return true; };
  kernel.bind = [of = what.of, run](const KernelCall& call) -> BoundKernel {
    return {0, [copies = of(call), run](const KernelRun& r) {
              for (const Copy& copy : copies) {
                run(copy.plan, r.inputs[static_cast<size_t>(copy.input)].as<char>() + copy.from,
                    r.outputs[0].as<char>() + copy.to, r);
              }
            }};
  };
  kernel.strided_inputs = what.strided_inputs;
  return kernel;
}

}  // namespace floe
