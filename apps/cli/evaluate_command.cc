// floe evaluate: BLEU and chrF of given translations, or of those that a model makes first.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "command.h"
#include "device/device.h"
#include "eval/evaluate.h"
#include "text/lines.h"
#include "translate/stream.h"
#include "translation_flags.h"

namespace floe {
namespace {

struct Flags {
  TranslationFlags translation;
  std::string hypotheses, source, tokenizer = "13a", smoothing = "exp";
  std::vector<std::string> references;
  bool lowercase = false, json = false;
};

std::vector<std::string> translations(const Flags& flags) {
  require(flags.source, "--source (what --model translates)");
  ModelFile model = load_model(flags.translation.model);
  const TranslatorOptions options = flags.translation.options(model.generation);
  LineReader reader(flags.source, flags.translation.strict ? InvalidUtf8::refuse : InvalidUtf8::replace);
  const std::unique_ptr<Device> device = flags.translation.device.open();
  ModelSession session(std::move(model), *device, flags.translation.session(options));
  Translator translator =
      session.translator(options, [&](const std::string& text) { warn(flags.source + ": " + text); });
  std::vector<std::string> out;
  translate_stream(translator, {.next_line = [&](std::string& line) { return reader.next(line); }},
                   [&](const TranslatedLine& line) { out.push_back(line.translation.text()); });
  return out;
}

void print_json(const EvaluationReport& evaluation) {
  nlohmann::ordered_json json;
  for (const Field& field : evaluation.fields())
    std::visit([&](const auto& value) { json[field.name] = value; }, field.value);
  fmt::print("{}\n", json.dump(2));
}

int run(const Flags& flags) {
  if (flags.hypotheses.empty() == flags.translation.model.empty())
    throw UsageError("evaluate takes either --hypotheses, or --model and --source");
  if (flags.references.empty()) throw UsageError("--references is missing");
  EvaluationOptions options;
  options.tokenizer = tokenizer_from_name(flags.tokenizer);
  options.smoothing = smoothing_from_name(flags.smoothing);
  options.letters = flags.lowercase ? Case::lower : Case::mixed;
  std::vector<std::vector<std::string>> references;
  for (const std::string& path : flags.references) references.push_back(read_lines(path));
  const auto hypotheses = flags.hypotheses.empty() ? translations(flags) : read_lines(flags.hypotheses);
  const EvaluationReport evaluation = evaluate(hypotheses, references, options);
  if (flags.json) {
    print_json(evaluation);
  } else {
    for (const std::string& line : evaluation.lines()) fmt::print("{}\n", line);
  }
  return 0;
}

}  // namespace

Run evaluate_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("--hypotheses", flags->hypotheses, "translations, one a line");
  app.add_option("--references", flags->references,
                 "reference translations: one or more files of as many lines");
  app.add_option("--source", flags->source, "text that --model translates for the evaluation");
  app.add_option("--tokenizer", flags->tokenizer, "for BLEU: 13a (unless given), zh, char, none, ...");
  app.add_option("--smoothing", flags->smoothing, "for BLEU: exp (unless given), floor, add-k, none");
  app.add_flag("--lowercase", flags->lowercase, "compare without regard to case");
  app.add_flag("--json", flags->json, "one object with every number");
  flags->translation.add_to(app);
  return [flags] { return run(*flags); };
}

}  // namespace floe
