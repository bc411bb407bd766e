// A fused pointwise group on the CPU: the tile interpreter on attribute "tape".
#include <algorithm>
#include <memory>

#include "kernel/cpu/tile_run.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr uint32_t kAllInputs = 0xFFFFFFFFu;

bool supports(const KernelSignature& signature) {
  return std::all_of(signature.inputs.begin(), signature.inputs.end(), TilePlan::supports) &&
         std::all_of(signature.outputs.begin(), signature.outputs.end(), TilePlan::supports);
}

BoundKernel bind(const KernelCall& call) {
  auto plan =
      std::make_shared<const TilePlan>(plan_tiles(*call.attrs.tape("tape"), call.inputs, call.outputs));
  BoundKernel bound;
  bound.workspace = plan->scratch_bytes * static_cast<size_t>(call.threads);
  bound.run = [plan](const KernelRun& run) {
    run_tiles(*plan, run.inputs, run.outputs, run.workspace, *run.pool);
  };
  return bound;
}

}  // namespace

void add_group_cpu(KernelTable& table) {
  Kernel kernel;
  kernel.op = "group";
  kernel.name = "group.tiles";
  kernel.supports = supports;
  kernel.bind = bind;
  kernel.strided_inputs = kAllInputs;
  table.add(std::move(kernel));
}

}  // namespace floe
