#include "text/utf8.h"

#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>

namespace floe {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// ICU counts in int32_t; longer text is walked in pieces that begin on a character.
constexpr size_t kChunk = size_t{1} << 30;

// Length of the valid text at the front; `bad` is the length of the ill-formed subsequence behind it.
size_t valid_prefix(std::string_view text, size_t& bad) {
  size_t start = 0;
  bad = 0;
  while (start < text.size()) {
    const auto* s = reinterpret_cast<const uint8_t*>(text.data()) + start;
    const auto length = static_cast<int32_t>(std::min(kChunk, text.size() - start));
    // A chunk that is not the last stops early enough that no character is cut by its end.
    const int32_t stop = start + length == text.size() ? length : length - U8_MAX_LENGTH;
    int32_t i = 0;
    while (i < stop) {
      const int32_t at = i;
      UChar32 c;
      U8_NEXT(s, i, length, c);
      if (c < 0) {
        bad = static_cast<size_t>(i - at);
        return start + static_cast<size_t>(at);
      }
    }
    start += static_cast<size_t>(i);
  }
  return start;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  size_t bad = 0;
  return valid_prefix(text, bad) == text.size();
}

std::string replace_invalid_utf8(std::string text) {
  size_t bad = 0;
  size_t good = valid_prefix(text, bad);
  if (good == text.size()) return text;
  std::string out;
  out.reserve(text.size() + kReplacement.size());
  std::string_view rest = text;
  while (good < rest.size()) {
    out.append(rest.substr(0, good)).append(kReplacement);
    rest.remove_prefix(good + bad);
    good = valid_prefix(rest, bad);
  }
  out.append(rest);
  return out;
}

}  // namespace floe
