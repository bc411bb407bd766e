#include "eval/segments.h"

#include "base/error.h"
#include "eval/unicode.h"

namespace floe {
namespace {

std::vector<std::u32string> decode_lines(const Lines& lines, const std::string& what, Case letters) {
  std::vector<std::u32string> decoded;
  decoded.reserve(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    size_t bad_byte = 0;
    auto line = decode_utf8(lines[i], &bad_byte);
    if (!line) fail_user("{}: line {} is not UTF-8 at byte {}", what, i + 1, bad_byte + 1);
    decoded.push_back(letters == Case::lower ? lower(*line) : std::move(*line));
  }
  return decoded;
}

}  // namespace

std::vector<int64_t> SegmentStats::sums() const {
  std::vector<int64_t> total(width);
  for (size_t i = 0; i < values.size(); ++i) total[i % width] += values[i];
  return total;
}

SegmentCorpus make_corpus(const Lines& hypotheses, const std::vector<Lines>& references, Case letters) {
  if (hypotheses.empty()) fail_user("nothing to evaluate: there are no hypotheses");
  if (references.empty()) fail_user("nothing to evaluate against: there are no references");
  SegmentCorpus corpus;
  for (size_t i = 0; i < references.size(); ++i) {
    if (references[i].size() != hypotheses.size()) {
      fail_user("{} hypotheses but {} lines in reference {}: line i must translate line i", hypotheses.size(),
                references[i].size(), i + 1);
    }
  }
  corpus.hypotheses = decode_lines(hypotheses, "hypotheses", letters);
  for (size_t i = 0; i < references.size(); ++i) {
    corpus.references.push_back(decode_lines(references[i], "reference " + std::to_string(i + 1), letters));
  }
  return corpus;
}

std::string evaluation_version() { return "floe-" FLOE_VERSION; }

}  // namespace floe
