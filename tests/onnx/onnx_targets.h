// A graph on each target that runs here.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "frontend/onnx.h"

namespace floe {

// Outputs in the graph's order, or why there are none.
struct TargetResult {
  std::vector<TensorPtr> outputs;
  std::string error;
};

TargetResult run_on_cpu(const OnnxImport& import, const NamedTensors& inputs);

// Many graphs in one Python process: printed as NumPy, run, read back.
struct NumpyJob {
  const OnnxImport* import;
  const NamedTensors* inputs;
};
std::vector<TargetResult> run_on_numpy(const std::vector<NumpyJob>& jobs);

}  // namespace floe
