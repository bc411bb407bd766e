#include "text/unknown_rate.h"

#include <fmt/core.h>

#include <algorithm>

namespace floe {

void UnknownRate::add(std::span<const int32_t> ids) {
  if (unknown_id_ < 0 || lines_ == options_.lines) return;
  ++lines_;
  tokens_ += ids.size();
  unknown_ += static_cast<uint64_t>(std::count(ids.begin(), ids.end(), unknown_id_));
}

std::optional<std::string> UnknownRate::warning() const {
  if (rate() <= options_.threshold) return std::nullopt;
  return fmt::format(
      "{}: {:.1f} % of the tokens in the first {} lines are unknown to the vocabulary ({} of {})", name_,
      100.0 * rate(), lines_, unknown_, tokens_);
}

}  // namespace floe
