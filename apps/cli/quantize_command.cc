// floe quantize: a float model's folder as one whose products are INT8; what that does to the model; and
// which weights must stay float for it to stay as good.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "command.h"
#include "quantize_report.h"
#include "quantize_search.h"
#include "text/lines.h"
#include "threads.h"
#include "translate/calibrate.h"
#include "translate/quantize_model.h"

namespace floe {
namespace {

struct Flags {
  std::string model, output;
  QuantizeOptions options;
  std::string calibrate, method = "mse";
  CalibrationOptions calibration;
  std::string compare, report;
  int64_t compare_lines = 200;
  bool sensitivity = false;
  std::optional<double> max_bleu_loss;
  std::string source, references;
  DeviceFlags device;
};

void check(const Flags& flags) {
  require(flags.model, "--model");
  if (flags.output.empty() && flags.compare.empty())
    throw UsageError("quantize takes --output, --compare, or both");
  if (!flags.report.empty() && flags.compare.empty()) throw UsageError("--report needs --compare");
  if (flags.max_bleu_loss && (flags.source.empty() || flags.references.empty()))
    throw UsageError("--max-bleu-loss needs --source and --references");
  if (flags.max_bleu_loss && !(*flags.max_bleu_loss >= 0))
    throw UsageError(fmt::format("--max-bleu-loss must be at least 0, got {}", *flags.max_bleu_loss));
  if (!flags.report.empty() && !flags.report.ends_with(".json") && !flags.report.ends_with(".html"))
    throw UsageError(fmt::format("--report: a file that ends in .json or .html, not '{}'", flags.report));
  if (file_exists(flags.output)) fail_user("{} is there already", flags.output);
}

std::vector<std::string> first_lines(const std::string& path, int64_t most) {
  LineReader reader(path, InvalidUtf8::replace);
  std::vector<std::string> lines;
  std::string line;
  while (static_cast<int64_t>(lines.size()) < most && reader.next(line)) lines.push_back(line);
  return lines;
}

// The float model's own translations of the lines.
std::vector<IdPair> pairs_of(const ModelFile& model, const std::vector<std::string>& lines, Device& device) {
  KernelTable kernels;
  add_all_kernels(device.kind(), kernels);
  State state(&device);
  for (const auto& [name, tensor] : model.weights) state.set(name, copy_of(tensor));
  DecodeEngine engine(model.config, state, kernels, device);
  std::vector<IdPair> pairs = greedy_pairs(model.text, engine, lines);
  if (pairs.empty()) fail_user("there is no sentence to compare with");
  return pairs;
}

double mean_loss(const std::vector<double>& log_probs) {
  return -std::accumulate(log_probs.begin(), log_probs.end(), 0.0) / static_cast<double>(log_probs.size());
}

void compare(const Flags& flags, const ModelFile& model, const ModelFile& quantized, Device& device) {
  const std::vector<IdPair> pairs = pairs_of(model, first_lines(flags.compare, flags.compare_lines), device);
  const std::vector<double> plain = token_log_probs(model, pairs, device);
  Int8Report report{.model = flags.model,
                    .sentences = static_cast<int64_t>(pairs.size()),
                    .target_tokens = static_cast<int64_t>(plain.size()),
                    .float_loss = mean_loss(plain),
                    .fake_loss = mean_loss(token_log_probs(quantized, pairs, device, Int8::fake)),
                    .int8_loss = mean_loss(token_log_probs(quantized, pairs, device)),
                    .products = compare_products(model, quantized, pairs, device)};
  if (flags.sensitivity) report.sensitivities = sensitivities(model, quantized, pairs, device);
  fmt::print("{}", report_text(report));
  if (!flags.report.empty()) write_report(report, flags.report);
}

// The model with as many INT8 weights as the budget allows.
ModelFile within_budget(const Flags& flags, const ModelFile& model, const ModelFile& quantized,
                        Device& device) {
  BleuBudget budget{.most_loss = *flags.max_bleu_loss,
                    .source = read_lines(flags.source),
                    .references = read_lines(flags.references)};
  const std::vector<IdPair> pairs = pairs_of(model, first_lines(flags.source, flags.compare_lines), device);
  const BudgetResult result =
      meet_bleu_budget(model, quantized, sensitivities(model, quantized, pairs, device), budget, device,
                       [](const std::string& line) { fmt::print("{}\n", line); });
  return mixed_model(model, quantized, result.int8);
}

int run(const Flags& flags) {
  check(flags);
  const ModelFile model = load_model(flags.model);
  ModelFile quantized = load_model(flags.model);
  const std::unique_ptr<Device> device = flags.device.open();
  std::optional<Calibration> calibration;
  if (!flags.calibrate.empty()) {
    CalibrationOptions options = flags.calibration;
    parse(flags.method, &options.range.method);
    LineReader lines(flags.calibrate, InvalidUtf8::replace);
    calibration = calibrate(
        model, int8_candidates(model.config, flags.options.keep_float),
        [&](std::string& line) { return lines.next(line); }, *device, options);
    fmt::print("calibrated on {} sentences ({} tokens)\n", calibration->sentences, calibration->tokens);
  }
  quantize_model(&quantized, flags.options);
  if (calibration) set_input_scales(&quantized, *calibration);
  if (flags.max_bleu_loss) quantized = within_budget(flags, model, quantized, *device);
  if (!flags.compare.empty()) compare(flags, model, quantized, *device);
  if (flags.output.empty()) return 0;
  save_model(flags.output, quantized);
  int64_t codes = 0, floats = 0;
  for (const WeightSpec& spec : weight_table(model.config)) {
    if (spec.may_quantize) ++(is_int8(quantized.weights, spec.name) ? codes : floats);
  }
  fmt::print("{} weights of products are INT8, {} are kept in float\n", codes, floats);
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
  app.add_option("--least-sentences", flags->calibration.least_sentences,
                 "a smaller calibration set is refused");
  app.add_option("--compare", flags->compare,
                 "text to compare float, simulated and real INT8 with, product by product");
  app.add_option("--compare-lines", flags->compare_lines, "of it, and of --source for the sensitivities");
  app.add_flag("--sensitivity", flags->sensitivity, "with --compare: each weight alone INT8");
  app.add_option("--report", flags->report, "the comparison as a file: .json or .html");
  app.add_option(
      "--max-bleu-loss", flags->max_bleu_loss,
      "the most sensitive weights stay float until BLEU of --source loses no more than so many points");
  app.add_option("--source", flags->source, "text for --max-bleu-loss");
  app.add_option("--references", flags->references, "its translations");
  flags->device.add_to(app);
  return [flags] { return run(*flags); };
}

}  // namespace floe
