#include "eval/tokenize.h"

#include <unicode/uchar.h>

#include <array>
#include <utility>

#include "base/error.h"
#include "eval/ngram.h"
#include "eval/unicode.h"

namespace floe {
namespace {

constexpr std::array<std::pair<BleuTokenizer, std::string_view>, 5> kNames{{
    {BleuTokenizer::v13a, "13a"},
    {BleuTokenizer::zh, "zh"},
    {BleuTokenizer::intl, "intl"},
    {BleuTokenizer::character, "char"},
    {BleuTokenizer::none, "none"},
}};

bool is_digit(char32_t c) { return c >= U'0' && c <= U'9'; }
bool is_not_digit(char32_t c) { return !is_digit(c); }
bool is_dash(char32_t c) { return c == U'-'; }
bool is_point_or_comma(char32_t c) { return c == U'.' || c == U','; }

// ASCII from space to DEL without letters, digits and the four marks with rules of their own: ' , - .
bool is_13a_punctuation(char32_t c) {
  return (c >= U' ' && c <= U'&') || (c >= U'(' && c <= U'+') || c == U'/' || (c >= U':' && c <= U'@') ||
         (c >= U'[' && c <= U'`') || (c >= U'{' && c <= U'~');
}

bool in_class(char32_t c, uint32_t mask) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & mask) != 0; }
bool is_punctuation(char32_t c) { return in_class(c, U_GC_P_MASK); }
bool is_symbol(char32_t c) { return in_class(c, U_GC_S_MASK); }
bool is_not_number(char32_t c) { return !in_class(c, U_GC_N_MASK); }

// The published table writes two supplementary ranges with four-digit escapes, so that U+20000..U+2A6D6 reads
// U+2001..U+2A6D and U+2F800..U+2FA1D reads U+2F81..U+2FA1. Scores are compared under that reading: dashes,
// curly quotes and arrows stand alone, and the characters of extension B do not. Ranges that the misread two
// cover (U+2600..U+27BF) are not listed again.
struct CodeRange {
  char32_t first, last;
};
constexpr CodeRange kChinese[] = {
    {0x2001, 0x2a6d}, {0x2e80, 0x2eff}, {0x2f00, 0x2fdf}, {0x2ff0, 0x2fff}, {0x3000, 0x303f},
    {0x3100, 0x312f}, {0x31a0, 0x31bf}, {0x31c0, 0x31ef}, {0x3200, 0x33ff}, {0x3400, 0x4db5},
    {0x4e00, 0x9fbb}, {0xf900, 0xfa2d}, {0xfa30, 0xfa6a}, {0xfa70, 0xfad9}, {0xfe10, 0xfe1f},
    {0xfe30, 0xfe4f}, {0xff00, 0xffef},
};

bool is_chinese(char32_t c) {
  for (const CodeRange& range : kChinese) {
    if (c >= range.first && c <= range.last) return true;
  }
  return false;
}

using CharTest = bool (*)(char32_t);

std::u32string isolate(std::u32string_view line, CharTest test) {
  std::u32string result;
  for (const char32_t c : line) {
    if (test(c)) {
      result.append({U' ', c, U' '});
    } else {
      result.push_back(c);
    }
  }
  return result;
}

// Puts spaces around one half of every pair, left to right; a character belongs to one pair only, so of
// three points in a row the second pair starts at the third.
enum class Half { first, second };
struct PairRule {
  CharTest first, second;
  Half isolated;
};

std::u32string isolate_in_pairs(std::u32string_view line, const PairRule& rule) {
  std::u32string result;
  for (size_t i = 0; i < line.size(); ++i) {
    if (i + 1 == line.size() || !rule.first(line[i]) || !rule.second(line[i + 1])) {
      result.push_back(line[i]);
      continue;
    }
    if (rule.isolated == Half::first) {
      result.append({U' ', line[i], U' ', line[i + 1]});
    } else {
      result.append({line[i], U' ', line[i + 1], U' '});
    }
    ++i;
  }
  return result;
}

std::u32string split_western(std::u32string_view line) {
  std::u32string text = isolate(line, is_13a_punctuation);
  text = isolate_in_pairs(text, {is_not_digit, is_point_or_comma, Half::second});
  text = isolate_in_pairs(text, {is_point_or_comma, is_not_digit, Half::first});
  return isolate_in_pairs(text, {is_digit, is_dash, Half::second});
}

std::u32string replace_all(std::u32string text, std::u32string_view from, std::u32string_view to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// The order counts: "&amp;lt;" ends as "<", "&amp;quot;" as "&quot;".
std::u32string tokenize_13a(std::u32string_view line) {
  std::u32string text = replace_all(std::u32string(line), U"<skipped>", U"");
  text = replace_all(std::move(text), U"-\n", U"");
  text = replace_all(std::move(text), U"&quot;", U"\"");
  text = replace_all(std::move(text), U"&amp;", U"&");
  text = replace_all(std::move(text), U"&lt;", U"<");
  text = replace_all(std::move(text), U"&gt;", U">");
  // The spaces give the first and the last character a neighbour for the rules about points and commas.
  return split_western(U" " + text + U" ");
}

// No space at the ends here: a point after a number at the line's end stays with it.
std::u32string tokenize_intl(std::u32string_view line) {
  std::u32string text = isolate_in_pairs(line, {is_not_number, is_punctuation, Half::second});
  text = isolate_in_pairs(text, {is_punctuation, is_not_number, Half::first});
  return isolate(text, is_symbol);
}

std::u32string mark_boundaries(BleuTokenizer tokenizer, std::u32string_view line) {
  switch (tokenizer) {
    case BleuTokenizer::v13a:
      return tokenize_13a(line);
    case BleuTokenizer::zh:
      return split_western(isolate(strip(line), is_chinese));
    case BleuTokenizer::intl:
      return tokenize_intl(line);
    case BleuTokenizer::character:
      return isolate(line, [](char32_t) { return true; });
    case BleuTokenizer::none:
      return std::u32string(line);
  }
  FLOE_CHECK(false, "tokenizer {} is unknown", static_cast<int>(tokenizer));
}

}  // namespace

std::string_view tokenizer_name(BleuTokenizer tokenizer) {
  for (const auto& [value, name] : kNames) {
    if (value == tokenizer) return name;
  }
  FLOE_CHECK(false, "tokenizer {} is unknown", static_cast<int>(tokenizer));
}

BleuTokenizer tokenizer_from_name(std::string_view wanted) {
  std::string known;
  for (const auto& [value, name] : kNames) {
    if (name == wanted) return value;
    known += known.empty() ? "" : ", ";
    known += name;
  }
  fail_user("no BLEU tokenizer is called \"{}\"; there are {}", wanted, known);
}

std::u32string tokenize(BleuTokenizer tokenizer, std::u32string_view line) {
  return split_words(mark_boundaries(tokenizer, strip_right(line))).line;
}

}  // namespace floe
