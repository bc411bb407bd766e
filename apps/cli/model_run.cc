#include "model_run.h"

#include <cstring>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "command.h"
#include "compile/compile.h"
#include "compile/print_numpy_graph.h"
#include "compile/printable.h"
#include "frontend/onnx_tensor.h"
#include "runtime/session.h"
#include "tensor/npz.h"

namespace floe {
namespace {

// An output may be a strided view of a larger value.
Tensor dense_copy(const View& view) {
  Tensor tensor(view.dtype, view.shape());
  const size_t width = size_of(view.dtype);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    int64_t rest = i, at = 0;
    for (int d = view.rank - 1; d >= 0; --d) {
      at += rest % view.dims[d] * view.strides[d];
      rest /= view.dims[d];
    }
    std::memcpy(tensor.as<char>() + static_cast<size_t>(i) * width,
                static_cast<const char*>(view.data) + static_cast<size_t>(at) * width, width);
  }
  return tensor;
}

std::map<std::string, int64_t> sizes_of(const std::vector<std::string>& words) {
  std::map<std::string, int64_t> sizes;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    char* end = nullptr;
    const int64_t value =
        equals == std::string::npos ? -1 : std::strtoll(word.c_str() + equals + 1, &end, 10);
    if (value < 0 || *end != '\0' || end == word.c_str() + equals + 1)
      throw UsageError(fmt::format("--sizes takes sizes as batch=2, not '{}'", word));
    sizes[word.substr(0, equals)] = value;
  }
  return sizes;
}

}  // namespace

NamedTensors read_arrays(const std::string& path) {
  const NpzFile file = NpzFile::open(path);
  NamedTensors arrays;
  for (const std::string& name : file.names()) arrays[name] = std::make_shared<Tensor>(file.load(name));
  return arrays;
}

void write_arrays(const std::string& path, const NamedTensors& arrays) {
  std::vector<NamedTensor> list;
  for (const auto& [name, tensor] : arrays) list.push_back({name, view_of(*tensor)});
  write_npz(path, list);
}

NamedTensors made_up_inputs(const OnnxModel& model, const std::vector<std::string>& sizes) {
  const std::map<std::string, int64_t> known = sizes_of(sizes);
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  NamedTensors inputs;
  for (const OnnxValue& input : model.graph.inputs) {
    Shape shape;
    for (const OnnxDim& dim : input.dims) {
      const auto given = known.find(dim.name);
      shape.push_back(dim.known ? dim.value : given != known.end() ? given->second : 2);
    }
    Tensor tensor(dtype_of_onnx(input.type), shape);
    for (int64_t i = 0; i < tensor.size(); ++i)
      tensor.set(i, is_float(tensor.dtype()) ? normal(random) : static_cast<double>(random() % 2));
    inputs[input.name] = std::make_shared<Tensor>(std::move(tensor));
  }
  return inputs;
}

NamedTensors run_model(const OnnxImport& import, const NamedTensors& inputs, Device& device) {
  KernelTable kernels;
  add_all_kernels(device.kind(), kernels);
  const auto program = compile({import.graph}, kernels, {.device = device.kind(), .row_invariant = true});
  State state(&device);
  for (const auto& [name, tensor] : import.states) state.set(name, copy_of(*tensor));
  Session session(program, kernels, device, state);
  std::vector<Feed> feeds;
  for (const NamedValue& input : import.graph.inputs()) {
    const auto given = inputs.find(input.name);
    if (given == inputs.end()) fail_user("input '{}' is missing", input.name);
    feeds.push_back({input.name, view_of(*given->second)});
  }
  const std::vector<View>& views = session.run(import.graph.name(), feeds);
  NamedTensors outputs;
  for (size_t k = 0; k < views.size(); ++k)
    outputs[program->entry(import.graph.name()).outputs[k].name] =
        std::make_shared<Tensor>(dense_copy(views[k]));
  return outputs;
}

void write_numpy(const OnnxImport& import, const std::string& folder) {
  const std::string name = identifier_of(import.graph.name());
  const bool weights = !import.graph.states().empty();
  const std::string states =
      weights ? fmt::format("dict(np.load(os.path.join(here, \"{}.weights.npz\")))", name) : "{}";
  const std::string source = numpy_graph(import.graph) + fmt::format(R"(

if __name__ == "__main__":
    import os
    import sys

    here = os.path.dirname(os.path.abspath(__file__))
    outputs, _ = {}(dict(np.load(sys.argv[1])), {})
    np.savez(sys.argv[2], **outputs)
)",
                                                                     name, states);
  write_file(folder + "/" + name + ".py", source);
  if (!weights) return;
  NamedTensors used;
  for (const NamedValue& state : import.graph.states()) used[state.name] = import.states.at(state.name);
  write_arrays(folder + "/" + name + ".weights.npz", used);
}

}  // namespace floe
