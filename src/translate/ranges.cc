#include "translate/ranges.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"

namespace floe {

Ranges::Ranges(int64_t size) {
  if (size > 0) free_.emplace(0, size);
}

std::optional<int64_t> Ranges::take(int64_t length) {
  if (length == 0) return 0;
  for (auto gap = free_.begin(); gap != free_.end(); ++gap) {
    const auto [begin, size] = *gap;
    if (size < length) continue;
    free_.erase(gap);
    if (size > length) free_.emplace(begin + length, size - length);
    return begin;
  }
  return std::nullopt;
}

void Ranges::give_back(int64_t begin, int64_t length) {
  if (length == 0) return;
  auto [at, added] = free_.emplace(begin, length);
  FLOE_CHECK(added, "range at {} was free already", begin);
  if (const auto next = std::next(at); next != free_.end() && next->first == begin + length) {
    at->second += next->second;
    free_.erase(next);
  }
  if (at == free_.begin()) return;
  const auto before = std::prev(at);
  if (before->first + before->second != begin) return;
  before->second += at->second;
  free_.erase(at);
}

int64_t Ranges::largest() const {
  int64_t most = 0;
  for (const auto& [begin, length] : free_) most = std::max(most, length);
  return most;
}

}  // namespace floe
