// UTF-8 as bytes: is it valid, and what stands in its place where it is not.
#pragma once
#include <string>
#include <string_view>

namespace floe {

bool is_valid_utf8(std::string_view text);

// Every maximal ill-formed subsequence becomes one U+FFFD, as the WHATWG decoder does: a sequence cut short
// is one U+FFFD, a byte that can begin nothing is one of its own. Valid text, NUL bytes included, stays as it
// is.
std::string replace_invalid_utf8(std::string text);

}  // namespace floe
