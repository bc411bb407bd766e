// Graphs of a model whose weights are codes: which they are follows from the weights themselves.
#pragma once
#include "ir/graph.h"
#include "kernel/kernel.h"
#include "nn/config.h"
#include "nn/weights.h"
#include "passes/quantize.h"

namespace floe {

class State;

// The weights that are codes; `fixed` where a scale of their input lies beside them.
QuantizePlan quantize_plan(const ModelConfig& config, const Weights& weights);
QuantizePlan quantize_plan(const ModelConfig& config, const State& state);

// real: integer products; fake: float products of the same codes (passes/quantize.h). The graph itself where
// nothing is planned.
enum class Int8 { real, fake };
Graph int8_graph(const Graph& graph, const QuantizePlan& plan, Int8 lowering = Int8::real);

// Whether the device multiplies codes. One that does not is given dequantized() weights.
bool runs_int8(DeviceKind device, const KernelTable& kernels);

}  // namespace floe
