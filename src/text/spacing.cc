#include "text/spacing.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>

namespace floe {
namespace {

UChar32 first_character(std::string_view text) {
  const auto* s = reinterpret_cast<const uint8_t*>(text.data());
  const auto length = static_cast<int32_t>(std::min<size_t>(text.size(), U8_MAX_LENGTH));
  int32_t i = 0;
  UChar32 c;
  U8_NEXT_OR_FFFD(s, i, length, c);
  return c;
}

UChar32 last_character(std::string_view text) {
  const std::string_view tail = text.substr(text.size() - std::min<size_t>(text.size(), U8_MAX_LENGTH));
  const auto* s = reinterpret_cast<const uint8_t*>(tail.data());
  auto i = static_cast<int32_t>(tail.size());
  UChar32 c;
  U8_PREV_OR_FFFD(s, 0, i, c);
  return c;
}

bool runs_without_spaces(UChar32 c) {
  const auto width = u_getIntPropertyValue(c, UCHAR_EAST_ASIAN_WIDTH);
  return width == U_EA_WIDE || width == U_EA_FULLWIDTH ||
         u_getIntPropertyValue(c, UCHAR_LINE_BREAK) == U_LB_COMPLEX_CONTEXT;
}

}  // namespace

bool space_between(std::string_view left, std::string_view right) {
  if (left.empty() || right.empty()) return false;
  return !(runs_without_spaces(last_character(left)) && runs_without_spaces(first_character(right)));
}

}  // namespace floe
