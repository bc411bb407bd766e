// floe score: the log probability of each given translation, and the whole text's perplexity.
#include <CLI/CLI.hpp>
#include <cmath>

#include "base/error.h"
#include "command.h"
#include "device/device.h"
#include "output.h"
#include "text/lines.h"
#include "threads.h"
#include "translate/scorer.h"

namespace floe {
namespace {

// Bounds what stands in memory at once.
constexpr size_t kChunkLines = 4096;

struct Flags {
  std::string model, source, target, output = "-";
  ScorerOptions scorer;
  DeviceFlags device;
};

struct Total {
  double log_probability = 0;
  int64_t tokens = 0;
  uint64_t lines = 0, blank = 0;

  void add(const PairScore& score) {
    log_probability += score.log_probability;
    tokens += score.tokens;
    ++lines;
    blank += score.tokens == 0 ? 1 : 0;
  }
};

int run(const Flags& flags) {
  require(flags.model, "--model");
  require(flags.source, "--source");
  require(flags.target, "--target");
  const InvalidUtf8 invalid = flags.scorer.strict ? InvalidUtf8::refuse : InvalidUtf8::replace;
  const LinePairs pairs = read_pairs(flags.source, flags.target, invalid);
  const std::unique_ptr<Device> device = flags.device.open();
  Scorer scorer(load_model(flags.model), flags.scorer, *device, warn);
  Output output(flags.output);
  Total total;
  for (size_t begin = 0; begin < pairs.source.size(); begin += kChunkLines) {
    const size_t n = std::min(kChunkLines, pairs.source.size() - begin);
    for (const PairScore& score : scorer.score(std::span(pairs.source).subspan(begin, n),
                                               std::span(pairs.target).subspan(begin, n), begin + 1)) {
      total.add(score);
      const double mean = score.tokens == 0 ? 0 : score.log_probability / static_cast<double>(score.tokens);
      output.line(fmt::format("{:.6f}\t{:.6f}\t{}", score.log_probability, mean, score.tokens));
    }
  }
  output.finish();
  if (total.blank > 0)
    warn(fmt::format("{} of {} pairs have a blank side and count nowhere", total.blank, total.lines));
  if (total.tokens > 0) {
    const double mean = total.log_probability / static_cast<double>(total.tokens);
    fmt::print(stderr, "{} pairs, {} tokens, log probability {:.4f}, per token {:.6f}, perplexity {:.4f}\n",
               total.lines - total.blank, total.tokens, total.log_probability, mean, std::exp(-mean));
  }
  return 0;
}

}  // namespace

Run score_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("--model", flags->model, "the model's folder");
  app.add_option("--source", flags->source, "source text, one sentence a line");
  app.add_option("--target", flags->target, "its translations, as many lines");
  app.add_option("--output", flags->output, "a line a pair: log probability, the same per token, tokens");
  app.add_option("--batch-tokens", flags->scorer.batch_tokens, "padded tokens of both sides at once");
  app.add_flag("--strict", flags->scorer.strict, "over-long lines and invalid UTF-8 are errors");
  flags->device.add_to(app);
  return [flags] { return run(*flags); };
}

}  // namespace floe
