// The one door to the metrics: BLEU, chrF and chrF++ of hypotheses against references, with the lines and
// signatures to print and the fields to write as JSON; and the comparison of two systems.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "eval/bleu.h"
#include "eval/bootstrap.h"
#include "eval/chrf.h"

namespace floe {

struct EvaluationOptions {
  BleuTokenizer tokenizer = BleuTokenizer::v13a;
  Case letters = Case::mixed;  // for all three metrics
  Smoothing smoothing = Smoothing::exp;
  std::optional<double> smoothing_value;
  bool effective_order = false;
  Whitespace chrf_whitespace = Whitespace::removed;
  ChrfSmoothing chrf_smoothing = ChrfSmoothing::effective_order;

  BleuOptions bleu() const;
  ChrfOptions chrf() const;
  ChrfOptions chrf_plus_plus() const;
};

// A name and a value for a JSON object, in the order to write them.
struct Field {
  std::string name;
  std::variant<double, int64_t, std::string> value;
};

struct EvaluationReport {
  BleuScore bleu;
  ChrfScore chrf, chrf_plus_plus;
  std::string bleu_signature, chrf_signature, chrf_plus_plus_signature;
  size_t segments = 0;

  // "BLEU|nrefs:1|...|version:floe-0.1.0 = 39.50 71.0/...", then chrF2 and chrF2++ in the same form.
  std::vector<std::string> lines(int digits = 2) const;
  std::vector<Field> fields() const;
};

// Lines are taken as they are: BLEU drops spaces at a line's end itself, chrF keeps them if whitespace is
// kept. Throws what make_corpus and bleu_from_sums throw.
EvaluationReport evaluate(const Lines& hypotheses, const std::vector<Lines>& references,
                          const EvaluationOptions& options = {});

struct Comparison {
  PairedResult bleu, chrf, chrf_plus_plus;
  BootstrapOptions bootstrap;

  // "BLEU: 39.50 (39.48 ± 1.20), 39.31 (39.30 ± 1.19), p = 0.2108": baseline, system, each with mean ± half
  // the 95% interval; then chrF2 and chrF2++.
  std::vector<std::string> lines(int digits = 2) const;
  std::vector<Field> fields() const;
};

// Throws what evaluate throws; `baseline` and `system` must both have as many lines as the references.
Comparison compare(const Lines& baseline, const Lines& system, const std::vector<Lines>& references,
                   const EvaluationOptions& options = {}, const BootstrapOptions& bootstrap = {});

}  // namespace floe
