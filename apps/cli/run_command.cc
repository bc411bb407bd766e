// floe run: an ONNX model on arrays.
#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include "command.h"
#include "model_run.h"
#include "ops/all.h"
#include "threads.h"

namespace floe {
namespace {

struct Flags {
  std::string model, input, output;
  DeviceFlags device;
};

constexpr int64_t kShown = 6;

void show(const std::string& name, const Tensor& tensor) {
  std::string text;
  for (int64_t i = 0; i < std::min(tensor.size(), kShown); ++i) text += fmt::format(" {:.6g}", tensor.at(i));
  fmt::print("{}: {}{}{}{}\n", name, name_of(tensor.dtype()), text_of(tensor.shape()), text,
             tensor.size() > kShown ? " ..." : "");
}

int run(const Flags& flags) {
  require(flags.model, "MODEL");
  require(flags.input, "--input");
  const std::unique_ptr<Device> device = flags.device.open();
  const auto model = read_onnx(flags.model);
  const NamedTensors inputs = read_arrays(flags.input);
  const OnnxImport import = import_onnx_for(*model, all_ops(), inputs);
  const NamedTensors outputs = run_model(import, inputs, *device);
  if (!flags.output.empty()) {
    write_arrays(flags.output, outputs);
    return 0;
  }
  for (const NamedValue& output : import.graph.outputs()) show(output.name, *outputs.at(output.name));
  return 0;
}

}  // namespace

Run run_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("MODEL", flags->model, "an .onnx file");
  app.add_option("--input", flags->input, "an .npz with an array for each input, by name");
  app.add_option("--output", flags->output,
                 "an .npz for the outputs; without it they are summed up on the screen");
  flags->device.add_to(app);
  return [flags] { return run(*flags); };
}

}  // namespace floe
