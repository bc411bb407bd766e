// floe quantize: a float model's folder as one whose products are INT8.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "command.h"
#include "text/lines.h"
#include "threads.h"
#include "translate/calibrate.h"
#include "translate/quantize_model.h"

namespace floe {
namespace {

struct Flags {
  std::string model, output;
  QuantizeOptions options;
  std::string calibrate;
  std::string method = "mse";
  CalibrationOptions calibration;
  DeviceFlags device;
};

int run(const Flags& flags) {
  require(flags.model, "--model");
  require(flags.output, "--output");
  if (file_exists(flags.output)) fail_user("{} is there already", flags.output);
  ModelFile model = load_model(flags.model);
  std::optional<Calibration> calibration;
  if (!flags.calibrate.empty()) {
    CalibrationOptions options = flags.calibration;
    parse(flags.method, &options.range.method);
    LineReader lines(flags.calibrate, InvalidUtf8::replace);
    const std::unique_ptr<Device> device = flags.device.open();
    calibration = calibrate(
        model, int8_candidates(model.config, flags.options.keep_float),
        [&](std::string& line) { return lines.next(line); }, *device, options);
    fmt::print("calibrated on {} sentences ({} tokens)\n", calibration->sentences, calibration->tokens);
  }
  const QuantizeReport report = quantize_model(&model, flags.options);
  if (calibration) set_input_scales(&model, *calibration);
  save_model(flags.output, model);
  fmt::print("{} weights are INT8, {} that could be stay float\n", report.quantized.size(),
             report.kept.size());
  return 0;
}

}  // namespace

Run quantize_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("model,--model", flags->model, "folder of the model");
  app.add_option("-o,--output", flags->output, "folder to write; it must not be there");
  app.add_option("--keep-float", flags->options.keep_float,
                 "weights that stay float: a name, or its beginning up to a dot");
  app.add_option(
      "--calibrate", flags->calibrate,
      "text in the source language: inputs of products get fixed scales, and not one a row at run time");
  app.add_option("--calibrator", flags->method, "minmax, average, percentile, entropy or mse (unless given)");
  app.add_option("--percentile", flags->calibration.range.percentile, "for the calibrator of that name");
  app.add_option("--least-sentences", flags->calibration.least_sentences, "a smaller set is refused");
  flags->device.add_to(app);
  return [flags] { return run(*flags); };
}

}  // namespace floe
