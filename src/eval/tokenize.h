// The tokenizers BLEU is reported with. Each takes a line and returns it with one space between tokens.
//
//   13a   mteval-v13a.pl of NIST, the WMT default: four entities unescaped, ASCII punctuation split off,
//         '.' and ',' split unless between digits
//   zh    every Chinese character alone, the rest as 13a but without entities
//   intl  mteval-v14.pl: punctuation split off unless beside a number, every symbol alone (Unicode classes)
//   char  every character that is not a space alone
//   none  the line's own words
//
// intl's classes are ICU's; punctuation and symbols newer than its Unicode version stay joined.
//
// The meaning is sacreBLEU 2's, quirks included, since a score is only worth comparing under one definition
// (Post 2018, "A Call for Clarity in Reporting BLEU Scores").
#pragma once
#include <string>
#include <string_view>

namespace floe {

enum class BleuTokenizer { v13a, zh, intl, character, none };

// The name in a signature: "13a", "zh", "intl", "char", "none".
std::string_view tokenizer_name(BleuTokenizer tokenizer);

// Throws Error{user} listing the names when there is none such.
BleuTokenizer tokenizer_from_name(std::string_view name);

// Spaces at the line's end are dropped first, as BLEU does before tokenizing.
std::u32string tokenize(BleuTokenizer tokenizer, std::u32string_view line);

}  // namespace floe
