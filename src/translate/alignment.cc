#include "translate/alignment.h"

#include <algorithm>

#include "base/error.h"

namespace floe {

Alignment alignment_of(const std::vector<std::vector<float>>& attention, const AttentionColumns& columns) {
  FLOE_CHECK(columns.read >= 0 && columns.read <= columns.original, "{} of {} tokens were read", columns.read,
             columns.original);
  const auto read = static_cast<size_t>(columns.read);
  Alignment out{.columns = columns.original};
  for (const std::vector<float>& row : attention) {
    FLOE_CHECK(row.size() >= read, "{} attention weights for {} tokens", row.size(), read);
    double sum = 0;
    for (size_t c = 0; c < read; ++c) sum += static_cast<double>(row[c]);
    for (size_t c = 0; c < read; ++c) {
      const double weight = sum > 0 ? static_cast<double>(row[c]) / sum : 1 / static_cast<double>(read);
      out.weights.push_back(static_cast<float>(weight));
    }
    out.weights.resize(out.weights.size() + static_cast<size_t>(columns.original) - read);
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
