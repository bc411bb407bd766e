// chrF (Popović 2015) and, with word n-grams, chrF++ (Popović 2017), equal to sacreBLEU 2 in every digit:
// the F-beta of n-gram precision and recall, both averaged over the orders that occur on both sides.
// Of several references each segment is held against the one with the best F.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "eval/segments.h"

namespace floe {

enum class Whitespace { removed, kept };

// effective_order averages precision and recall over the orders present; epsilon averages the F of all orders
// with 1e-16 for what is missing, as chrF++.py, NLTK and Moses do.
enum class ChrfSmoothing { effective_order, epsilon };

struct ChrfOptions {
  int char_order = 6;
  int word_order = 0;  // 2 for chrF++
  int beta = 2;        // recall counts beta times as much as precision
  Case letters = Case::mixed;
  Whitespace whitespace = Whitespace::removed;  // before character n-grams are taken
  ChrfSmoothing smoothing = ChrfSmoothing::effective_order;
};

struct ChrfScore {
  double score = 0;  // 0 to 100
  std::string name;  // "chrF2", "chrF2++"

  std::string line(int digits = 2) const;  // "chrF2 = 62.41"
};

// Columns: for each order, characters first, n-grams of the hypothesis, of the reference, and matches.
// Throws what make_corpus throws, and Error{user} for orders below 0, no order at all, or beta below 1.
SegmentStats chrf_statistics(const Lines& hypotheses, const std::vector<Lines>& references,
                             const ChrfOptions& options);

ChrfScore chrf_from_sums(std::span<const int64_t> sums, const ChrfOptions& options);

ChrfScore chrf(const Lines& hypotheses, const std::vector<Lines>& references,
               const ChrfOptions& options = {});

// "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:floe-0.1.0"
std::string chrf_signature(const ChrfOptions& options, size_t references);

}  // namespace floe
