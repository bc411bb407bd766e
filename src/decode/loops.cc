#include "decode/loops.h"

#include <algorithm>

namespace floe {

int64_t looping_tokens(std::span<const int32_t> tokens, int64_t ngram, int64_t times) {
  const auto size = static_cast<int64_t>(tokens.size());
  for (int64_t n = 1; n <= ngram && n * times <= size; ++n) {
    const auto tail = tokens.subspan(static_cast<size_t>(size - n * times));
    // A sequence has period n when it equals itself shifted by n.
    if (std::equal(tail.begin() + n, tail.end(), tail.begin())) return n * (times - 1);
  }
  return 0;
}

}  // namespace floe
