// Whether a space stands between two sentences: between Latin ones yes, between Chinese, Japanese or Thai
// ones no.
#pragma once
#include <string_view>

namespace floe {

// Decided by the last character of `left` and the first of `right`: no space when either is empty or both
// belong to writing that runs without spaces (wide characters of UAX #11, and the scripts that UAX #14 breaks
// by dictionary).
bool space_between(std::string_view left, std::string_view right);

}  // namespace floe
