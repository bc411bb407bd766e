// Any bytes are an ONNX model or refused with Error, when they are parsed, when they become a graph, and once
// more with fixed sizes.
#include "frontend/onnx.h"

#include "base/error.h"
#include "ops/all.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto model = floe::parse_onnx(std::string(reinterpret_cast<const char*>(data), size), "model.onnx");
    floe::OnnxOptions options;
    try {
      floe::import_onnx(*model, floe::all_ops(), options);
    } catch (const floe::Error& error) {
      if (error.kind() == floe::ErrorKind::bug) __builtin_trap();
    }
    for (const floe::OnnxValue& input : model->graph.inputs)
      options.shapes[input.name] = floe::Shape(input.dims.size(), 3);
    floe::import_onnx(*model, floe::all_ops(), options);
  } catch (const floe::Error& error) {
    if (error.kind() == floe::ErrorKind::bug) __builtin_trap();
  }
  return 0;
}
