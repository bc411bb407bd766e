// floe translate: text in, translations out, line by line; with scores, n-best lists and alignments.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/error.h"
#include "command.h"
#include "device/device.h"
#include "output.h"
#include "text/lines.h"
#include "translate/stream.h"
#include "translation_flags.h"
#include "translation_json.h"

namespace floe {
namespace {

struct Flags {
  TranslationFlags translation;
  std::string input = "-", output = "-", prefix, alignments;
  int64_t alignment_layer = -1;
  std::vector<int64_t> alignment_heads;
  bool scores = false, json = false;
};

std::string one_field(std::string text) {
  std::replace(text.begin(), text.end(), '\t', ' ');
  return text;
}

// A line for the best translation; with several, a line for each that begins with the input line's number.
void write_plain(const TranslatedLine& line, const Flags& flags, Output& output) {
  const bool several = flags.translation.n_best > 1;
  if (line.translation.candidates.empty()) {
    output.line(several ? fmt::format("{}\t", line.number) : "");
    return;
  }
  const bool fields = several || flags.scores || !flags.alignments.empty();
  for (const Candidate& candidate : line.translation.candidates) {
    std::string text = fields ? one_field(candidate.text) : candidate.text;
    if (several) text = fmt::format("{}\t{}", line.number, text);
    if (flags.scores) text += fmt::format("\t{:.6f}", candidate.score);
    if (flags.alignments == "hard") text += "\t" + hard_alignment_text(*candidate.alignment);
    if (flags.alignments == "soft") text += "\t" + soft_alignment_text(*candidate.alignment);
    output.line(text);
  }
}

// Prefixes go with lines one to one, which is known before anything is translated.
StreamInput inputs(const Flags& flags) {
  const InvalidUtf8 invalid = flags.translation.strict ? InvalidUtf8::refuse : InvalidUtf8::replace;
  if (flags.prefix.empty()) {
    auto reader = std::make_shared<LineReader>(flags.input, invalid);
    return {.next_line = [reader](std::string& line) { return reader->next(line); }};
  }
  auto pairs = std::make_shared<LinePairs>(read_pairs(flags.input, flags.prefix, invalid));
  const auto lines_of = [pairs](std::vector<std::string>& lines) {
    return [pairs, &lines, next = size_t{0}](std::string& line) mutable {
      if (next == lines.size()) return false;
      line = std::move(lines[next++]);
      return true;
    };
  };
  return {.next_line = lines_of(pairs->source), .next_prefix = lines_of(pairs->target)};
}

int run(const Flags& flags) {
  require(flags.translation.model, "--model");
  if (!flags.alignments.empty() && flags.alignments != "hard" && flags.alignments != "soft")
    throw UsageError(fmt::format("--alignments is hard or soft, not '{}'", flags.alignments));
  ModelFile model = load_model(flags.translation.model);
  TranslatorOptions options = flags.translation.options(model.generation);
  options.attention = {
      .wanted = !flags.alignments.empty(), .layer = flags.alignment_layer, .heads = flags.alignment_heads};
  const StreamInput input = inputs(flags);
  const std::unique_ptr<Device> device = flags.translation.device.open();
  ModelSession session(std::move(model), *device, flags.translation.session(options));
  const std::string name = flags.input == "-" ? "standard input" : flags.input;
  Translator translator =
      session.translator(options, [&](const std::string& text) { warn(name + ": " + text); });
  Output output(flags.output);
  const StreamReport report = translate_stream(
      translator, input,
      [&](const TranslatedLine& line) {
        if (flags.json) {
          output.line(translation_json(line, flags.alignments));
        } else {
          write_plain(line, flags, output);
        }
      },
      [&] { output.flush(); });
  output.finish();
  if (report.failed > 0)
    fail_io("{}: {} of {} lines were not translated and are blank in the output, the first of them line {}",
            name, report.failed, report.lines, report.first_failed);
  return 0;
}

}  // namespace

Run translate_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  flags->translation.add_to(app);
  app.add_option("--input", flags->input, "text, a sentence a line; - (unless given) is standard input");
  app.add_option("--output", flags->output, "a line for each line; - (unless given) is standard output");
  app.add_option("--prefix", flags->prefix, "a line for each line: how its translation begins");
  app.add_flag("--scores", flags->scores, "behind each translation its score, tab-separated");
  app.add_option("--alignments", flags->alignments,
                 "hard: source-target pairs; soft: all weights; by tokens");
  app.add_option("--alignment-layer", flags->alignment_layer, "decoder layer; -1 is the last");
  app.add_option("--alignment-heads", flags->alignment_heads, "the mean of these heads, not of all");
  app.add_flag("--json", flags->json, "an object for each line: text, tokens, scores, alignments, failures");
  return [flags] { return run(*flags); };
}

}  // namespace floe
