// floe profile translate: a text translated as it is and then with every kernel timed.
#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "kernel/kernel.h"
#include "profile_output.h"
#include "profile_runs.h"
#include "text/lines.h"
#include "translate/engine.h"
#include "translation_flags.h"

namespace floe {
namespace {

struct Flags {
  TranslationFlags translation;
  ProfileFlags profile;
  std::string input = "-";
};

std::vector<std::string> lines_of(const std::string& path) {
  LineReader reader(path, InvalidUtf8::replace);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  if (lines.empty()) fail_user("{}: there is nothing to translate", path == "-" ? "standard input" : path);
  return lines;
}

int run(const Flags& flags) {
  require(flags.translation.model, "--model");
  flags.profile.check();
  ModelFile model = load_model(flags.translation.model);
  const TranslatorOptions options = flags.translation.options(model.generation);
  const std::vector<std::string> lines = lines_of(flags.input);
  const std::unique_ptr<Device> device = flags.translation.device.open();
  ModelSession session(std::move(model), *device, flags.translation.session(options));
  Translator translator = session.translator(options, warn);
  const auto translate_all = [&] {
    for (const Translation& line : translator.translate(lines)) {
      if (line.failure) fail_user("profile translate: {}", *line.failure);
    }
  };
  // Every set of sizes is recorded at its second run, and with marks at the next.
  for (int i = 0; i < 3; ++i) translate_all();
  DecodeEngine& engine = session.engine();
  engine.set_profile(true);
  translate_all();
  engine.clear_profile();
  // In turns, so that a machine that grows slower or faster counts for both.
  double seconds = 0;
  for (int64_t i = 0; i < flags.profile.runs; ++i) {
    engine.set_profile(false);
    seconds += seconds_of(translate_all);
    engine.set_profile(true);
    translate_all();
  }
  const DecodeEngine::Profile profile = engine.profile();
  ProfileReport report;
  report.what = fmt::format("translation of {} lines with {}, beam {}", lines.size(), flags.translation.model,
                            options.search.beam);
  report.unit = "translation";
  report.run_seconds = seconds / static_cast<double>(flags.profile.runs);
  report.runs = flags.profile.runs;
  report.times = profile.encoder;
  report.times.insert(report.times.end(), profile.steps.begin(), profile.steps.end());
  engine.trim();
  KernelTable kernels;
  add_all_kernels(device->kind(), kernels);
  report.ceilings = measure_ceilings(*device, kernels, ceiling_sizes(device->kind()));
  write_profile(report, flags.profile);
  return 0;
}

}  // namespace

Run profile_translate(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  flags->translation.add_to(app);
  app.add_option("--input", flags->input, "text, a sentence a line; - (unless given) is standard input");
  flags->profile.add_to(app);
  return [flags] { return run(*flags); };
}

}  // namespace floe
