// A fused pointwise group on a GPU: the kernel that was printed for it (compile/print_cuda.h). Integers
// divided by zero give 0: a kernel cannot refuse.
#include <algorithm>
#include <memory>
#include <string>

#include "device/cuda/launch.cuh"
#include "kernel/group_call.h"

namespace floe {
namespace {

constexpr uint32_t kAllInputs = 0xFFFFFFFFu;

bool has_type(DType type) { return type != DType::f64; }

bool supports(const KernelSignature& signature) {
  return std::all_of(signature.inputs.begin(), signature.inputs.end(), has_type) &&
         std::all_of(signature.outputs.begin(), signature.outputs.end(), has_type);
}

BoundKernel bind(const KernelCall& call) {
  auto group = std::make_shared<GroupCall>(call.attrs, call.inputs, call.outputs);
  void* function = group_function(call);
  BoundKernel bound;
  bound.run = [group, function, name = call.attrs.text("function")](const KernelRun& run) {
    const GroupCall::Launch& at = group->launch();
    const LaunchShape shape{
        .grid = {at.grid_x, at.grid_y, 1}, .block = {at.block_x, at.block_y, 1}, .overlap = true};
    launch_built(name.c_str(), function, shape, run.stream, group->words(run.inputs, run.outputs).data());
  };
  return bound;
}

}  // namespace

void add_group_cuda(KernelTable& table) {
  Kernel kernel;
  kernel.op = "group";
  kernel.device = DeviceKind::cuda;
  kernel.name = "group.printed";
  kernel.supports = supports;
  kernel.bind = bind;
  kernel.strided_inputs = kAllInputs;
  table.add(std::move(kernel));
}

}  // namespace floe
