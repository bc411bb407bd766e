#include "translate/batches.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace floe {

std::vector<std::vector<size_t>> make_batches(std::span<const int64_t> lengths, const BatchLimits& limits) {
  FLOE_CHECK(limits.tokens >= 1 && limits.rows >= 1 && limits.beams >= 1, "batch limits below 1");
  std::vector<size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });

  std::vector<std::vector<size_t>> batches;
  int64_t room = 0;  // rows that the open batch can still take; its first row is its longest
  for (const size_t row : order) {
    if (room == 0) {
      batches.emplace_back();
      const int64_t cost = std::max<int64_t>(lengths[row], 1) * limits.beams;
      room = std::clamp<int64_t>(limits.tokens / cost, 1, limits.rows);
    }
    batches.back().push_back(row);
    --room;
  }
  return batches;
}

}  // namespace floe
