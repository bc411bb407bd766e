// N-grams as views into one string: words are kept with a single space between, so the n-gram that starts at
// word i is the text from its first letter to the last letter of word i+n-1. Words hold no spaces, so two
// n-grams are equal exactly when their texts are, and texts of different order never are.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace floe {

struct Words {
  struct Span {
    size_t begin, end;  // into line, in code points
  };
  std::u32string line;
  std::vector<Span> spans;

  void add(std::u32string_view word);
  size_t size() const { return spans.size(); }
  std::u32string_view word(size_t i) const { return gram(i, 1); }
  std::u32string_view gram(size_t first, size_t count) const;
};

// str.split(): at any run of spaces in Python's sense.
Words split_words(std::u32string_view text);

// The line without its spaces.
std::u32string join_words(const Words& words);

// Keys look into the Words or string they were counted from, which must stay where it is.
using NgramCounts = std::unordered_map<std::u32string_view, int64_t>;

void count_word_ngrams(const Words& words, size_t order, NgramCounts& counts);
void count_char_ngrams(std::u32string_view text, size_t order, NgramCounts& counts);

// sum over n-grams of min(count here, count there)
int64_t count_matches(const NgramCounts& here, const NgramCounts& there);

}  // namespace floe
