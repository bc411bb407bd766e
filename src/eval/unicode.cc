#include "eval/unicode.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "base/error.h"

namespace floe {
namespace {

constexpr char32_t kCapitalIDot = 0x130;
constexpr char32_t kCombiningDotAbove = 0x307;
constexpr char32_t kCapitalSigma = 0x3a3;
constexpr char32_t kSmallSigma = 0x3c3;
constexpr char32_t kFinalSigma = 0x3c2;

bool case_ignorable(char32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_CASE_IGNORABLE); }
bool cased(char32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_CASED); }

// A cased letter before it and none after it, looking past marks such as apostrophes.
bool sigma_ends_word(std::u32string_view text, size_t at) {
  size_t before = at;
  while (before > 0 && case_ignorable(text[before - 1])) --before;
  if (before == 0 || !cased(text[before - 1])) return false;
  size_t after = at + 1;
  while (after < text.size() && case_ignorable(text[after])) ++after;
  return after == text.size() || !cased(text[after]);
}

}  // namespace

std::optional<std::u32string> decode_utf8(std::string_view text, size_t* bad_byte) {
  std::u32string result;
  result.reserve(text.size());
  size_t at = 0;
  while (at < text.size()) {
    const size_t start = at;
    UChar32 c;
    U8_NEXT(text.data(), at, text.size(), c);
    if (c < 0) {
      if (bad_byte != nullptr) *bad_byte = start;
      return std::nullopt;
    }
    result.push_back(static_cast<char32_t>(c));
  }
  return result;
}

std::string encode_utf8(std::u32string_view text) {
  std::string result;
  result.reserve(text.size());
  for (const char32_t c : text) {
    char bytes[U8_MAX_LENGTH];
    int32_t length = 0;
    UBool error = false;
    U8_APPEND(bytes, length, U8_MAX_LENGTH, static_cast<UChar32>(c), error);
    FLOE_CHECK(!error, "U+{:04X} is no code point", static_cast<uint32_t>(c));
    result.append(bytes, static_cast<size_t>(length));
  }
  return result;
}

bool is_python_space(char32_t c) {
  if (c <= 0x20) return c == 0x20 || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
  if (c < 0x1680) return c == 0x85 || c == 0xa0;
  return c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

std::u32string_view strip_right(std::u32string_view text) {
  while (!text.empty() && is_python_space(text.back())) text.remove_suffix(1);
  return text;
}

std::u32string_view strip(std::u32string_view text) {
  while (!text.empty() && is_python_space(text.front())) text.remove_prefix(1);
  return strip_right(text);
}

std::u32string lower(std::u32string_view text) {
  std::u32string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == kCapitalSigma) {
      result.push_back(sigma_ends_word(text, i) ? kFinalSigma : kSmallSigma);
    } else if (text[i] == kCapitalIDot) {
      // The one character whose lower case is longer whatever the language.
      result.append({U'i', kCombiningDotAbove});
    } else {
      result.push_back(static_cast<char32_t>(u_tolower(static_cast<UChar32>(text[i]))));
    }
  }
  return result;
}

}  // namespace floe
