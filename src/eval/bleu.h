// BLEU (Papineni et al. 2002) over a corpus, equal to sacreBLEU 2 in every printed digit:
//
//   BLEU = 100 BP exp(1/4 sum_n log p_n),   BP = exp(1 - r/c) when c < r, else 1
//
// c is the length of the hypotheses, r the sum over segments of the reference length nearest to the
// hypothesis's (the shorter of two equally near), p_n the clipped n-gram precision with the counts of several
// references merged by maximum.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "eval/segments.h"
#include "eval/tokenize.h"

namespace floe {

constexpr size_t kBleuOrder = 4;

// For a precision without a match (Chen and Cherry 2014): exp halves it anew at each such order (NIST), floor
// puts `smoothing_value` in place of the count, add_k adds it to matches and totals of orders 2 to 4.
enum class Smoothing { exp, floor, add_k, none };

// "exp", "floor", "add-k", "none".
std::string_view smoothing_name(Smoothing smoothing);

// Throws Error{user} listing the names when there is none such.
Smoothing smoothing_from_name(std::string_view name);

struct BleuOptions {
  BleuTokenizer tokenizer = BleuTokenizer::v13a;
  Case letters = Case::mixed;
  Smoothing smoothing = Smoothing::exp;
  std::optional<double> smoothing_value;  // floor: 0.1 and add_k: 1 unless given; the others take none
  bool effective_order = false;           // average over the orders the hypotheses are long enough for
};

struct BleuScore {
  double score = 0;                             // 0 to 100
  std::array<double, kBleuOrder> precisions{};  // percent; all 0 when no word matches
  double brevity_penalty = 0;
  int64_t hypothesis_length = 0, reference_length = 0;  // tokens

  double ratio() const;  // hypothesis over reference length, 0 when the references are empty

  // "BLEU = 39.50 71.0/47.5/34.3/24.5 (BP = 0.999 ratio = 0.999 hyp_len = 12101 ref_len = 12103)";
  // `digits` behind the point of the score.
  std::string line(int digits = 2) const;
};

// Columns: hypothesis length, reference length, matches of order 1 to 4, n-grams of order 1 to 4.
// Throws what make_corpus throws.
SegmentStats bleu_statistics(const Lines& hypotheses, const std::vector<Lines>& references,
                             const BleuOptions& options);

// Throws Error{user} for a smoothing value that is negative, not finite, or given to a method without one.
BleuScore bleu_from_sums(std::span<const int64_t> sums, const BleuOptions& options);

BleuScore bleu(const Lines& hypotheses, const std::vector<Lines>& references,
               const BleuOptions& options = {});

// One segment alone; without effective order a segment shorter than four words would score 0.
BleuScore sentence_bleu(const std::string& hypothesis, const Lines& references,
                        const BleuOptions& options = {.effective_order = true});

// "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:floe-0.1.0"
std::string bleu_signature(const BleuOptions& options, size_t references);

}  // namespace floe
