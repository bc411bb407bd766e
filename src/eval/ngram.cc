#include "eval/ngram.h"

#include <algorithm>

#include "eval/unicode.h"

namespace floe {

void Words::add(std::u32string_view word) {
  if (!spans.empty()) line.push_back(U' ');
  spans.push_back({line.size(), line.size() + word.size()});
  line += word;
}

std::u32string_view Words::gram(size_t first, size_t count) const {
  const size_t begin = spans[first].begin;
  return std::u32string_view(line).substr(begin, spans[first + count - 1].end - begin);
}

Words split_words(std::u32string_view text) {
  Words words;
  words.line.reserve(text.size());
  size_t at = 0;
  while (at < text.size()) {
    while (at < text.size() && is_python_space(text[at])) ++at;
    const size_t begin = at;
    while (at < text.size() && !is_python_space(text[at])) ++at;
    if (at > begin) words.add(text.substr(begin, at - begin));
  }
  return words;
}

std::u32string join_words(const Words& words) {
  std::u32string text;
  text.reserve(words.line.size());
  for (size_t i = 0; i < words.size(); ++i) text += words.word(i);
  return text;
}

void count_word_ngrams(const Words& words, size_t order, NgramCounts& counts) {
  for (size_t i = 0; i + order <= words.size(); ++i) ++counts[words.gram(i, order)];
}

void count_char_ngrams(std::u32string_view text, size_t order, NgramCounts& counts) {
  for (size_t i = 0; i + order <= text.size(); ++i) ++counts[text.substr(i, order)];
}

int64_t count_matches(const NgramCounts& here, const NgramCounts& there) {
  int64_t matches = 0;
  for (const auto& [gram, count] : here) {
    const auto found = there.find(gram);
    if (found != there.end()) matches += std::min(count, found->second);
  }
  return matches;
}

}  // namespace floe
