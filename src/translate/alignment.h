// From attention to alignments: which source tokens a target token came from.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace floe {

// One row a target token, one column a source token of the line as it was before any truncation; rows sum
// to 1.
struct Alignment {
  int64_t columns = 0;
  std::vector<float> weights;  // [rows, columns]

  int64_t rows() const { return columns == 0 ? 0 : static_cast<int64_t>(weights.size()) / columns; }
  std::span<const float> row(int64_t i) const {
    return std::span(weights).subspan(static_cast<size_t>(i * columns), static_cast<size_t>(columns));
  }
};

// Each row of `attention` has the first `read` tokens of the line, which the model was given, then special
// tokens that it was given besides (the end token). What went to those is dropped and the rest scaled to a
// sum of 1; a row that looked at special tokens alone becomes uniform. `original` counts the tokens of the
// line; those that truncation took away get 0.
struct AttentionColumns {
  int64_t read = 0;
  int64_t original = 0;
};
Alignment alignment_of(const std::vector<std::vector<float>>& attention, const AttentionColumns& columns);

// For each target token the source token with the most weight, the first of equal ones. Empty without
// columns.
std::vector<int64_t> hard_alignment(const Alignment& alignment);

// "0-0 1-2": source-target pairs counted from 0, in the order of the target tokens.
std::string hard_alignment_text(const Alignment& alignment);

// "0.9,0.1 0.2,0.8": a group a target token, four decimals.
std::string soft_alignment_text(const Alignment& alignment);

}  // namespace floe
