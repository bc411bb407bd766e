#include "eval/chrf.h"

#include <vector>

#include "base/error.h"
#include "eval/ngram.h"

namespace floe {
namespace {

constexpr double kEpsilon = 1e-16;
constexpr size_t kColumnsPerOrder = 3;  // hypothesis, reference, matches

void check(const ChrfOptions& options) {
  if (options.char_order < 0 || options.word_order < 0 || options.char_order + options.word_order == 0) {
    fail_user("chrF needs n-grams to count: char order is {}, word order {}", options.char_order,
              options.word_order);
  }
  if (options.beta < 1) fail_user("chrF needs a beta of 1 or more, not {}", options.beta);
}

bool is_ascii_punctuation(char32_t c) {
  return (c >= U'!' && c <= U'/') || (c >= U':' && c <= U'@') || (c >= U'[' && c <= U'`') ||
         (c >= U'{' && c <= U'~');
}

// One mark comes off a word: the last character if it is punctuation, else the first. "(hi)" gives "(hi",
// ")".
Words split_punctuation(const Words& words) {
  Words result;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::u32string_view word = words.word(i);
    const size_t last = word.size() - 1;
    if (last > 0 && is_ascii_punctuation(word[last])) {
      result.add(word.substr(0, last));
      result.add(word.substr(last));
    } else if (last > 0 && is_ascii_punctuation(word[0])) {
      result.add(word.substr(0, 1));
      result.add(word.substr(1));
    } else {
      result.add(word);
    }
  }
  return result;
}

// A line's n-grams by order, characters first. Not movable: the counts look into `text` and `words`.
struct LineNgrams {
  std::u32string text;
  Words words;
  std::vector<NgramCounts> counts;

  LineNgrams(const std::u32string& line, const ChrfOptions& options) {
    const Words raw = split_words(line);
    text = options.whitespace == Whitespace::kept ? line : join_words(raw);
    for (int n = 1; n <= options.char_order; ++n) {
      count_char_ngrams(text, static_cast<size_t>(n), counts.emplace_back());
    }
    if (options.word_order > 0) words = split_punctuation(raw);
    for (int n = 1; n <= options.word_order; ++n) {
      count_word_ngrams(words, static_cast<size_t>(n), counts.emplace_back());
    }
  }
  LineNgrams(const LineNgrams&) = delete;
  LineNgrams& operator=(const LineNgrams&) = delete;
};

int64_t size_of(const NgramCounts& counts) {
  int64_t size = 0;
  for (const auto& [gram, count] : counts) size += count;
  return size;
}

std::vector<int64_t> match_row(const LineNgrams& hypothesis, const LineNgrams& reference) {
  std::vector<int64_t> row;
  for (size_t i = 0; i < hypothesis.counts.size(); ++i) {
    const NgramCounts& wanted = reference.counts[i];
    // An order too long for the reference is no fault of the hypothesis.
    row.push_back(wanted.empty() ? 0 : size_of(hypothesis.counts[i]));
    row.push_back(size_of(wanted));
    row.push_back(count_matches(hypothesis.counts[i], wanted));
  }
  return row;
}

double f_score(std::span<const int64_t> sums, const ChrfOptions& options) {
  const double factor = static_cast<double>(options.beta) * options.beta;
  double precisions = 0, recalls = 0, scores = 0;
  int orders = 0;
  for (size_t i = 0; i < sums.size(); i += kColumnsPerOrder) {
    const auto hypothesis = static_cast<double>(sums[i]);
    const auto reference = static_cast<double>(sums[i + 1]);
    const auto matches = static_cast<double>(sums[i + 2]);
    const double precision = hypothesis > 0 ? matches / hypothesis : kEpsilon;
    const double recall = reference > 0 ? matches / reference : kEpsilon;
    const double denominator = factor * precision + recall;
    scores += denominator > 0 ? (1 + factor) * precision * recall / denominator : kEpsilon;
    if (hypothesis > 0 && reference > 0) {
      precisions += precision;
      recalls += recall;
      ++orders;
    }
  }
  if (options.smoothing == ChrfSmoothing::epsilon) {
    return 100 * scores / (options.char_order + options.word_order);
  }
  if (orders == 0 || precisions + recalls == 0) return 0;
  const double precision = precisions / orders;
  const double recall = recalls / orders;
  return 100 * ((1 + factor) * precision * recall / (factor * precision + recall));
}

}  // namespace

std::string ChrfScore::line(int digits) const { return fmt::format("{} = {:.{}f}", name, score, digits); }

SegmentStats chrf_statistics(const Lines& hypotheses, const std::vector<Lines>& references,
                             const ChrfOptions& options) {
  check(options);
  const SegmentCorpus corpus = make_corpus(hypotheses, references, options.letters);
  SegmentStats stats{.width =
                         kColumnsPerOrder * static_cast<size_t>(options.char_order + options.word_order)};
  for (size_t i = 0; i < corpus.hypotheses.size(); ++i) {
    const LineNgrams hypothesis(corpus.hypotheses[i], options);
    std::vector<int64_t> best;
    double best_score = -1;
    for (const auto& lines : corpus.references) {
      std::vector<int64_t> row = match_row(hypothesis, LineNgrams(lines[i], options));
      const double score = f_score(row, options);
      if (score > best_score) {
        best_score = score;
        best = std::move(row);
      }
    }
    stats.add_row(best);
  }
  return stats;
}

ChrfScore chrf_from_sums(std::span<const int64_t> sums, const ChrfOptions& options) {
  const size_t columns = kColumnsPerOrder * static_cast<size_t>(options.char_order + options.word_order);
  FLOE_CHECK(sums.size() == columns, "chrF needs {} sums, not {}", columns, sums.size());
  return {.score = f_score(sums, options),
          .name = fmt::format("chrF{}{}", options.beta,
                              std::string(static_cast<size_t>(options.word_order), '+'))};
}

ChrfScore chrf(const Lines& hypotheses, const std::vector<Lines>& references, const ChrfOptions& options) {
  return chrf_from_sums(chrf_statistics(hypotheses, references, options).sums(), options);
}

std::string chrf_signature(const ChrfOptions& options, size_t references) {
  return fmt::format("nrefs:{}|case:{}|eff:{}|nc:{}|nw:{}|space:{}|version:{}", references,
                     options.letters == Case::lower ? "lc" : "mixed",
                     options.smoothing == ChrfSmoothing::effective_order ? "yes" : "no", options.char_order,
                     options.word_order, options.whitespace == Whitespace::kept ? "yes" : "no",
                     evaluation_version());
}

}  // namespace floe
