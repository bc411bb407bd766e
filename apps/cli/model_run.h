// What the commands on ONNX models share: inputs from a file or made up, one run on a device, the NumPy form.
#pragma once
#include <string>
#include <vector>

#include "device/device.h"
#include "frontend/onnx.h"

namespace floe {

NamedTensors read_arrays(const std::string& path);  // all of an .npz
void write_arrays(const std::string& path, const NamedTensors& arrays);

// Normal numbers for floats, 0 or 1 for integers and bools (an index that fits nearly anywhere), the same
// each time. Dims without a number are taken from `sizes` ("batch=2"), else 2.
NamedTensors made_up_inputs(const OnnxModel& model, const std::vector<std::string>& sizes);

// Throws Error{user} naming an input that is missing.
NamedTensors run_model(const OnnxImport& import, const NamedTensors& inputs, Device& device);

// FOLDER/NAME.py, runnable as `python3 NAME.py in.npz out.npz`, and FOLDER/NAME.weights.npz where there are
// any.
void write_numpy(const OnnxImport& import, const std::string& folder);

}  // namespace floe
