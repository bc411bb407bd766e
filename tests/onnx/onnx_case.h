// One of ONNX's backend cases: a model, its inputs and the outputs it must give.
#pragma once
#include <string>
#include <vector>

#include "frontend/onnx.h"
#include "ir/evaluate.h"

namespace floe {

struct OnnxCase {
  std::string name;
  std::string folder;
  std::unique_ptr<OnnxModel> model;
  NamedTensors inputs;
  std::vector<TensorPtr> outputs;  // in the graph's order
};

// The model and test_data_set_0; throws Error where something has no form in Floe.
OnnxCase load_onnx_case(const std::string& folder);

// "" or how they differ: types and shapes must be equal, numbers within `relative` of what is wanted plus
// 1e-7.
std::string difference(const Tensor& got, const Tensor& want, double relative = 1e-3);

}  // namespace floe
