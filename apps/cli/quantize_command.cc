// floe quantize: a float model's folder as one whose products are INT8.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "command.h"
#include "translate/quantize_model.h"

namespace floe {
namespace {

struct Flags {
  std::string model, output;
  QuantizeOptions options;
};

int run(const Flags& flags) {
  require(flags.model, "--model");
  require(flags.output, "--output");
  if (file_exists(flags.output)) fail_user("{} is there already", flags.output);
  ModelFile model = load_model(flags.model);
  const QuantizeReport report = quantize_model(&model, flags.options);
  save_model(flags.output, model);
  fmt::print("{} weights are INT8, {} that could be stay float\n", report.quantized.size(), report.kept.size());
  return 0;
}

}  // namespace

Run quantize_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("model,--model", flags->model, "folder of the model");
  app.add_option("-o,--output", flags->output, "folder to write; it must not be there");
  app.add_option("--keep-float", flags->options.keep_float,
                 "weights that stay float: a name, or its beginning up to a dot");
  return [flags] { return run(*flags); };
}

}  // namespace floe
