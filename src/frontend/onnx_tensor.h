// ONNX's tensors as Floe's.
#pragma once
#include <string>

#include "frontend/onnx_proto.h"
#include "tensor/tensor.h"

namespace floe {

// Throws Error{user} naming a type that Floe lacks.
DType dtype_of_onnx(int32_t type);

// `folder`: where files of external data lie. Sizes are checked against what is there before anything is
// allocated; a location outside the folder is refused. Throws Error{user} or Error{io}.
Tensor tensor_of_onnx(const OnnxTensor& tensor, const std::string& folder);

}  // namespace floe
