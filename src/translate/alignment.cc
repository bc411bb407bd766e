#include "translate/alignment.h"

#include <algorithm>

#include "base/error.h"

namespace floe {

Alignment alignment_of(std::span<const float> attention, const AttentionColumns& columns) {
  FLOE_CHECK(columns.width > 0 && attention.size() % static_cast<size_t>(columns.width) == 0,
             "{} attention weights in rows of {}", attention.size(), columns.width);
  FLOE_CHECK(columns.read >= 0 && columns.read <= columns.width && columns.read <= columns.original,
             "{} columns of {} for {} tokens", columns.read, columns.width, columns.original);
  Alignment out;
  out.columns = columns.original;
  const size_t rows = attention.size() / static_cast<size_t>(columns.width);
  out.weights.assign(rows * static_cast<size_t>(columns.original), 0.0f);
  for (size_t r = 0; r < rows; ++r) {
    const auto from =
        attention.subspan(r * static_cast<size_t>(columns.width), static_cast<size_t>(columns.read));
    float* to = out.weights.data() + r * static_cast<size_t>(columns.original);
    double sum = 0;
    for (const float w : from) sum += w;
    for (size_t c = 0; c < from.size(); ++c) {
      to[c] = static_cast<float>(sum > 0 ? from[c] / sum : 1.0 / static_cast<double>(from.size()));
    }
  }
  return out;
}

std::vector<int64_t> hard_alignment(const Alignment& alignment) {
  std::vector<int64_t> out;
  for (int64_t r = 0; r < alignment.rows(); ++r) {
    const auto row = alignment.row(r);
    out.push_back(std::max_element(row.begin(), row.end()) - row.begin());
  }
  return out;
}

std::string hard_alignment_text(const Alignment& alignment) {
  std::string text;
  const auto sources = hard_alignment(alignment);
  for (size_t target = 0; target < sources.size(); ++target) {
    text += fmt::format("{}{}-{}", target == 0 ? "" : " ", sources[target], target);
  }
  return text;
}

std::string soft_alignment_text(const Alignment& alignment) {
  std::string text;
  for (int64_t r = 0; r < alignment.rows(); ++r) {
    if (r > 0) text += ' ';
    const auto row = alignment.row(r);
    for (size_t c = 0; c < row.size(); ++c) text += fmt::format("{}{:.4f}", c == 0 ? "" : ",", row[c]);
  }
  return text;
}

}  // namespace floe
