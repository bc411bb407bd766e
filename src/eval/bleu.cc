#include "eval/bleu.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "base/error.h"
#include "eval/ngram.h"

namespace floe {
namespace {

constexpr std::array<std::pair<Smoothing, std::string_view>, 4> kNames{{
    {Smoothing::exp, "exp"},
    {Smoothing::floor, "floor"},
    {Smoothing::add_k, "add-k"},
    {Smoothing::none, "none"},
}};

constexpr size_t kHypothesisLength = 0;
constexpr size_t kReferenceLength = 1;
constexpr size_t kMatches = 2;
constexpr size_t kTotals = kMatches + kBleuOrder;
constexpr size_t kColumns = kTotals + kBleuOrder;

// Stands for log 0, so that a single empty precision makes the whole product 0.
constexpr double kLogOfZero = -9999999999.0;

std::optional<double> smoothing_value(const BleuOptions& options) {
  const bool takes_value = options.smoothing == Smoothing::floor || options.smoothing == Smoothing::add_k;
  if (!takes_value) {
    if (options.smoothing_value) {
      fail_user("BLEU smoothing \"{}\" takes no value, but {} was given", smoothing_name(options.smoothing),
                *options.smoothing_value);
    }
    return std::nullopt;
  }
  const double value = options.smoothing_value.value_or(options.smoothing == Smoothing::floor ? 0.1 : 1.0);
  if (!(value >= 0) || !std::isfinite(value)) {
    fail_user("BLEU smoothing \"{}\" needs a value of 0 or more, not {}", smoothing_name(options.smoothing),
              value);
  }
  return value;
}

int64_t nearest_length(int64_t hypothesis, const std::vector<int64_t>& references) {
  int64_t best = references.front();
  for (const int64_t length : references) {
    const int64_t nearer = std::abs(length - hypothesis) - std::abs(best - hypothesis);
    if (nearer < 0 || (nearer == 0 && length < best)) best = length;
  }
  return best;
}

std::array<int64_t, kColumns> segment_row(const Words& hypothesis, const std::vector<Words>& references) {
  std::array<int64_t, kColumns> row{};
  std::vector<int64_t> lengths;
  for (const Words& reference : references) lengths.push_back(static_cast<int64_t>(reference.size()));
  row[kHypothesisLength] = static_cast<int64_t>(hypothesis.size());
  row[kReferenceLength] = nearest_length(row[kHypothesisLength], lengths);
  for (size_t n = 1; n <= kBleuOrder && n <= hypothesis.size(); ++n) {
    NgramCounts most;  // of any reference
    for (const Words& reference : references) {
      NgramCounts counts;
      count_word_ngrams(reference, n, counts);
      for (const auto& [gram, count] : counts) {
        int64_t& seen = most[gram];
        seen = std::max(seen, count);
      }
    }
    NgramCounts counts;
    count_word_ngrams(hypothesis, n, counts);
    row[kMatches + n - 1] = count_matches(counts, most);
    row[kTotals + n - 1] = static_cast<int64_t>(hypothesis.size() - n + 1);
  }
  return row;
}

}  // namespace

std::string_view smoothing_name(Smoothing smoothing) {
  for (const auto& [value, name] : kNames) {
    if (value == smoothing) return name;
  }
  FLOE_CHECK(false, "smoothing {} is unknown", static_cast<int>(smoothing));
}

Smoothing smoothing_from_name(std::string_view wanted) {
  std::string known;
  for (const auto& [value, name] : kNames) {
    if (name == wanted) return value;
    known += known.empty() ? "" : ", ";
    known += name;
  }
  fail_user("no BLEU smoothing is called \"{}\"; there are {}", wanted, known);
}

double BleuScore::ratio() const {
  return reference_length == 0
             ? 0.0
             : static_cast<double>(hypothesis_length) / static_cast<double>(reference_length);
}

std::string BleuScore::line(int digits) const {
  return fmt::format(
      "BLEU = {:.{}f} {:.1f}/{:.1f}/{:.1f}/{:.1f} (BP = {:.3f} ratio = {:.3f} hyp_len = {} ref_len = {})",
      score, digits, precisions[0], precisions[1], precisions[2], precisions[3], brevity_penalty, ratio(),
      hypothesis_length, reference_length);
}

SegmentStats bleu_statistics(const Lines& hypotheses, const std::vector<Lines>& references,
                             const BleuOptions& options) {
  const SegmentCorpus corpus = make_corpus(hypotheses, references, options.letters);
  SegmentStats stats{.width = kColumns};
  for (size_t i = 0; i < corpus.hypotheses.size(); ++i) {
    const Words hypothesis = split_words(tokenize(options.tokenizer, corpus.hypotheses[i]));
    std::vector<Words> segment_references;
    for (const auto& lines : corpus.references) {
      segment_references.push_back(split_words(tokenize(options.tokenizer, lines[i])));
    }
    stats.add_row(segment_row(hypothesis, segment_references));
  }
  return stats;
}

BleuScore bleu_from_sums(std::span<const int64_t> sums, const BleuOptions& options) {
  FLOE_CHECK(sums.size() == kColumns, "BLEU needs {} sums, not {}", kColumns, sums.size());
  const std::optional<double> value = smoothing_value(options);
  BleuScore result{.hypothesis_length = sums[kHypothesisLength], .reference_length = sums[kReferenceLength]};
  const auto c = static_cast<double>(result.hypothesis_length);
  const auto r = static_cast<double>(result.reference_length);
  result.brevity_penalty = c >= r ? 1.0 : c > 0 ? std::exp(1 - r / c) : 0.0;
  // Without a match at any order smoothing has nothing to say.
  if (sums[kMatches] == 0) return result;

  double halving = 1;
  size_t orders = kBleuOrder;
  for (size_t n = 0; n < kBleuOrder; ++n) {
    auto matches = static_cast<double>(sums[kMatches + n]);
    auto total = static_cast<double>(sums[kTotals + n]);
    if (options.smoothing == Smoothing::add_k && n > 0) {
      matches += *value;
      total += *value;
    }
    if (total == 0) break;
    if (options.effective_order) orders = n + 1;
    double& precision = result.precisions[n];
    if (matches > 0) {
      precision = 100. * matches / total;
    } else if (options.smoothing == Smoothing::exp) {
      halving *= 2;
      precision = 100. / (halving * total);
    } else if (options.smoothing == Smoothing::floor) {
      precision = 100. * *value / total;
    }
  }
  double log_sum = 0;
  for (size_t n = 0; n < orders; ++n) {
    log_sum += result.precisions[n] == 0 ? kLogOfZero : std::log(result.precisions[n]);
  }
  result.score = result.brevity_penalty * std::exp(log_sum / static_cast<double>(orders));
  return result;
}

BleuScore bleu(const Lines& hypotheses, const std::vector<Lines>& references, const BleuOptions& options) {
  return bleu_from_sums(bleu_statistics(hypotheses, references, options).sums(), options);
}

BleuScore sentence_bleu(const std::string& hypothesis, const Lines& references, const BleuOptions& options) {
  std::vector<Lines> each;
  for (const std::string& reference : references) each.push_back({reference});
  return bleu({hypothesis}, each, options);
}

std::string bleu_signature(const BleuOptions& options, size_t references) {
  const std::optional<double> value = smoothing_value(options);
  return fmt::format("nrefs:{}|case:{}|eff:{}|tok:{}|smooth:{}{}|version:{}", references,
                     options.letters == Case::lower ? "lc" : "mixed", options.effective_order ? "yes" : "no",
                     tokenizer_name(options.tokenizer), smoothing_name(options.smoothing),
                     value ? fmt::format("[{:.2f}]", *value) : "", evaluation_version());
}

}  // namespace floe
