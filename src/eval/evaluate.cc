#include "eval/evaluate.h"

#include <algorithm>

#include "base/error.h"

namespace floe {
namespace {

// "chrF2 = 62.41" with the signature between name and value, where sacreBLEU's text format has it.
std::string with_signature(const std::string& line, const std::string& signature) {
  std::string result = line;
  return result.insert(line.find(" = "), "|" + signature);
}

std::string comparison_line(const char* name, const PairedResult& result, int digits) {
  return fmt::format("{}: {:.{}f} ({:.{}f} ± {:.{}f}), {:.{}f} ({:.{}f} ± {:.{}f}), p = {:.4f}", name,
                     result.baseline_score, digits, result.baseline.mean, digits,
                     result.baseline.half_width(), digits, result.system_score, digits, result.system.mean,
                     digits, result.system.half_width(), digits, result.p_value);
}

void add_fields(const std::string& metric, const PairedResult& result, std::vector<Field>& fields) {
  fields.push_back({metric + "_baseline", result.baseline_score});
  fields.push_back({metric + "_baseline_mean", result.baseline.mean});
  fields.push_back({metric + "_baseline_low", result.baseline.low});
  fields.push_back({metric + "_baseline_high", result.baseline.high});
  fields.push_back({metric + "_system", result.system_score});
  fields.push_back({metric + "_system_mean", result.system.mean});
  fields.push_back({metric + "_system_low", result.system.low});
  fields.push_back({metric + "_system_high", result.system.high});
  fields.push_back({metric + "_p_value", result.p_value});
}

}  // namespace

BleuOptions EvaluationOptions::bleu() const {
  return {.tokenizer = tokenizer,
          .letters = letters,
          .smoothing = smoothing,
          .smoothing_value = smoothing_value,
          .effective_order = effective_order};
}

ChrfOptions EvaluationOptions::chrf() const {
  return {.letters = letters, .whitespace = chrf_whitespace, .smoothing = chrf_smoothing};
}

ChrfOptions EvaluationOptions::chrf_plus_plus() const {
  ChrfOptions options = chrf();
  options.word_order = 2;
  return options;
}

std::vector<std::string> EvaluationReport::lines(int digits) const {
  return {with_signature(bleu.line(digits), bleu_signature),
          with_signature(chrf.line(digits), chrf_signature),
          with_signature(chrf_plus_plus.line(digits), chrf_plus_plus_signature)};
}

std::vector<Field> EvaluationReport::fields() const {
  std::vector<Field> fields{{"segments", static_cast<int64_t>(segments)}, {"bleu", bleu.score}};
  for (size_t n = 0; n < kBleuOrder; ++n) {
    fields.push_back({"bleu_precision_" + std::to_string(n + 1), bleu.precisions[n]});
  }
  fields.push_back({"bleu_brevity_penalty", bleu.brevity_penalty});
  fields.push_back({"bleu_hypothesis_length", bleu.hypothesis_length});
  fields.push_back({"bleu_reference_length", bleu.reference_length});
  fields.push_back({"bleu_line", bleu.line()});
  fields.push_back({"bleu_signature", bleu_signature});
  fields.push_back({"chrf", chrf.score});
  fields.push_back({"chrf_signature", chrf_signature});
  fields.push_back({"chrf_plus_plus", chrf_plus_plus.score});
  fields.push_back({"chrf_plus_plus_signature", chrf_plus_plus_signature});
  return fields;
}

EvaluationReport evaluate(const Lines& hypotheses, const std::vector<Lines>& references,
                          const EvaluationOptions& options) {
  return {.bleu = bleu(hypotheses, references, options.bleu()),
          .chrf = chrf(hypotheses, references, options.chrf()),
          .chrf_plus_plus = chrf(hypotheses, references, options.chrf_plus_plus()),
          .bleu_signature = bleu_signature(options.bleu(), references.size()),
          .chrf_signature = chrf_signature(options.chrf(), references.size()),
          .chrf_plus_plus_signature = chrf_signature(options.chrf_plus_plus(), references.size()),
          .segments = hypotheses.size()};
}

std::vector<std::string> Comparison::lines(int digits) const {
  return {comparison_line("BLEU", bleu, digits), comparison_line("chrF2", chrf, digits),
          comparison_line("chrF2++", chrf_plus_plus, digits)};
}

std::vector<Field> Comparison::fields() const {
  std::vector<Field> fields{{"bootstrap_samples", static_cast<int64_t>(bootstrap.samples)},
                            {"bootstrap_seed", static_cast<int64_t>(bootstrap.seed)}};
  add_fields("bleu", bleu, fields);
  add_fields("chrf", chrf, fields);
  add_fields("chrf_plus_plus", chrf_plus_plus, fields);
  return fields;
}

Comparison compare(const Lines& baseline, const Lines& system, const std::vector<Lines>& references,
                   const EvaluationOptions& options, const BootstrapOptions& bootstrap) {
  const auto by_bleu = [&](std::span<const int64_t> sums) {
    return bleu_from_sums(sums, options.bleu()).score;
  };
  const auto by_chrf = [&](const ChrfOptions& chrf) {
    return paired_bootstrap(
        chrf_statistics(baseline, references, chrf), chrf_statistics(system, references, chrf),
        [&](std::span<const int64_t> sums) { return chrf_from_sums(sums, chrf).score; }, bootstrap);
  };
  return {.bleu = paired_bootstrap(bleu_statistics(baseline, references, options.bleu()),
                                   bleu_statistics(system, references, options.bleu()), by_bleu, bootstrap),
          .chrf = by_chrf(options.chrf()),
          .chrf_plus_plus = by_chrf(options.chrf_plus_plus()),
          .bootstrap = bootstrap};
}

}  // namespace floe
