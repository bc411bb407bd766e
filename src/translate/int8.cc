#include "translate/int8.h"

#include <algorithm>

#include "passes/simplify.h"
#include "runtime/state.h"
#include "tensor/quantize.h"

namespace floe {
namespace {

template <class IsInt8, class Has>
QuantizePlan plan_of(const ModelConfig& config, IsInt8 is_codes, Has has) {
  QuantizePlan plan;
  for (const WeightSpec& spec : weight_table(config)) {
    if (!is_codes(spec.name)) continue;
    plan[spec.name] = has(input_scale_name(spec.name)) ? InputScale::fixed : InputScale::of_row;
  }
  return plan;
}

}  // namespace

QuantizePlan quantize_plan(const ModelConfig& config, const Weights& weights) {
  return plan_of(
      config, [&](const std::string& name) { return is_int8(weights, name); },
      [&](const std::string& name) { return weights.contains(name); });
}

QuantizePlan quantize_plan(const ModelConfig& config, const State& state) {
  return plan_of(
      config, [&](const std::string& name) { return state.has(name) && state.view(name).dtype == DType::i8; },
      [&](const std::string& name) { return state.has(name); });
}

Graph int8_graph(const Graph& graph, const QuantizePlan& plan, Int8 lowering) {
  if (plan.empty()) return graph;
  const Graph quantized = quantize(graph, plan);
  return simplify(lowering == Int8::fake ? quantized : use_int8_products(quantized));
}

bool runs_int8(DeviceKind device, const KernelTable& kernels) {
  return std::ranges::any_of(kernels.all(), [&](const Kernel& kernel) {
    return kernel.device == device && kernel.op == "matmul_int8";
  });
}

}  // namespace floe
