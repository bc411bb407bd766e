// The few Unicode operations the metrics need, with the meaning Python's str gives them: published BLEU and
// chrF figures are defined by a Python program, and a character it takes for a space, or lower-cases in
// another way, moves the score.
//
// Case data is ICU's (Unicode 15 on Debian 12). Against Python 3.11 (Unicode 14) only the marks added in
// between differ, and only as neighbours of a capital sigma.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace floe {

// Strict UTF-8: overlong forms, surrogates and cut sequences give nothing; *bad_byte then holds the offset.
std::optional<std::u32string> decode_utf8(std::string_view text, size_t* bad_byte = nullptr);
std::string encode_utf8(std::u32string_view text);

// str.isspace() of one character. Wider than ICU's u_isspace: U+001C..U+001F count, and so does NBSP.
bool is_python_space(char32_t c);

// str.strip() and str.rstrip() without arguments.
std::u32string_view strip(std::u32string_view text);
std::u32string_view strip_right(std::u32string_view text);

// str.lower(): full case mapping without a language. U+0130 becomes two characters, a capital sigma at a
// word's end becomes the final form (Unicode 3.13, Final_Sigma).
std::u32string lower(std::u32string_view text);

}  // namespace floe
