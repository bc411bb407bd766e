// What every metric here shares: a corpus is checked and decoded once, each segment gives a row of integers,
// and the corpus score depends on the columns' sums alone. Resampling segments is resampling rows.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace floe {

using Lines = std::vector<std::string>;  // UTF-8, one segment each

struct SegmentStats {
  size_t width = 0;             // columns
  std::vector<int64_t> values;  // [segments, width]

  size_t rows() const { return width == 0 ? 0 : values.size() / width; }
  std::span<const int64_t> row(size_t i) const { return std::span(values).subspan(i * width, width); }
  void add_row(std::span<const int64_t> row) { values.insert(values.end(), row.begin(), row.end()); }
  std::vector<int64_t> sums() const;  // [width]
};

struct SegmentCorpus {
  std::vector<std::u32string> hypotheses;               // [segments]
  std::vector<std::vector<std::u32string>> references;  // [references][segments]
};

enum class Case { mixed, lower };

// Throws Error{user} when there is no hypothesis or no reference, when a reference has another number of
// lines (naming both counts), or when a line is not UTF-8 (naming it).
SegmentCorpus make_corpus(const Lines& hypotheses, const std::vector<Lines>& references, Case letters);

// `floe-0.1.0`. It stands in a signature where sacreBLEU prints its own version, so that no one takes the
// figure for that program's output; all other fields and all numbers are the same.
std::string evaluation_version();

}  // namespace floe
