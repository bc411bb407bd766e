#include "text/sentences.h"

#include <unicode/brkiter.h>
#include <unicode/filteredbrk.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/error.h"
#include "text/lines.h"

namespace floe {
namespace {

// Common ones that ICU 72's lists lack.
constexpr std::pair<std::string_view, const char*> kMoreAbbreviations[] = {
    {"en", "Dr."}, {"en", "St."}, {"en", "vs."}, {"en", "e.g."}, {"en", "i.e."}, {"de", "Dr."}, {"de", "Nr."},
};

void check(UErrorCode status, const char* what) {
  if (U_FAILURE(status)) fail_io("cannot {}: ICU says {}", what, u_errorName(status));
}

std::unique_ptr<icu::BreakIterator> sentence_breaks(const std::string& language) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Locale locale = icu::Locale::forLanguageTag(language, status);
  if (U_FAILURE(status) || locale.isBogus() || (!language.empty() && *locale.getLanguage() == '\0')) {
    fail_user("\"{}\" is not a language tag such as en or zh-Hant", language);
  }
  std::unique_ptr<icu::BreakIterator> plain(icu::BreakIterator::createSentenceInstance(locale, status));
  check(status, "load the sentence rules");
  std::unique_ptr<icu::FilteredBreakIteratorBuilder> filter(
      icu::FilteredBreakIteratorBuilder::createInstance(locale, status));
  if (status == U_MISSING_RESOURCE_ERROR) return plain;  // no list for this language
  check(status, "load the list of abbreviations");
  for (const auto& [tongue, abbreviation] : kMoreAbbreviations) {
    if (locale.getLanguage() == tongue) {
      filter->suppressBreakAfter(icu::UnicodeString::fromUTF8(icu::StringPiece(abbreviation)), status);
    }
  }
  check(status, "add abbreviations");
  std::unique_ptr<icu::BreakIterator> filtered(filter->wrapIteratorWithFilter(plain.release(), status));
  check(status, "filter the sentence rules");
  return filtered;
}

// Byte counts of the white space at both ends.
size_t leading_space(std::string_view text) {
  size_t length = 0;
  while (length < text.size()) {
    const auto* s = reinterpret_cast<const uint8_t*>(text.data()) + length;
    int32_t i = 0;
    UChar32 c;
    U8_NEXT(s, i, static_cast<int32_t>(std::min<size_t>(text.size() - length, U8_MAX_LENGTH)), c);
    if (c < 0 || !u_isUWhiteSpace(c)) break;
    length += static_cast<size_t>(i);
  }
  return length;
}

size_t trailing_space(std::string_view text) {
  size_t length = 0;
  while (length < text.size()) {
    const size_t rest = text.size() - length;
    const size_t window = std::min<size_t>(rest, U8_MAX_LENGTH);
    const auto* s = reinterpret_cast<const uint8_t*>(text.data()) + rest - window;
    auto i = static_cast<int32_t>(window);
    UChar32 c;
    U8_PREV(s, 0, i, c);
    if (c < 0 || !u_isUWhiteSpace(c)) break;
    length += window - static_cast<size_t>(i);
  }
  return length;
}

struct CloseText {
  void operator()(UText* text) const { utext_close(text); }
};

}  // namespace

std::string Paragraph::join() const {
  std::string out = lead;
  for (const auto& sentence : sentences) out.append(sentence.text).append(sentence.separator);
  return out;
}

// An iterator keeps its place in a text, so every paragraph gets a copy of this one.
class SentenceSplitter::Rules {
 public:
  explicit Rules(const std::string& language) : breaks_(sentence_breaks(language)) {}
  std::unique_ptr<icu::BreakIterator> copy() const {
    return std::unique_ptr<icu::BreakIterator>(breaks_->clone());
  }

 private:
  std::unique_ptr<const icu::BreakIterator> breaks_;
};

SentenceSplitter::SentenceSplitter(const std::string& language) : rules_(std::make_shared<Rules>(language)) {}

Paragraph SentenceSplitter::split(std::string_view paragraph) const {
  if (paragraph.size() > size_t{INT32_MAX})
    fail_user("a paragraph of {} bytes is too long to split", paragraph.size());
  const auto breaks = rules_->copy();
  UErrorCode status = U_ZERO_ERROR;
  // UText counts in bytes of the UTF-8 text and takes ill-formed bytes for U+FFFD.
  std::unique_ptr<UText, CloseText> text(
      utext_openUTF8(nullptr, paragraph.data(), static_cast<int64_t>(paragraph.size()), &status));
  check(status, "read the paragraph");
  breaks->setText(text.get(), status);
  check(status, "read the paragraph");

  Paragraph out;
  const auto append_space = [&](std::string_view space) {
    (out.sentences.empty() ? out.lead : out.sentences.back().separator).append(space);
  };
  auto start = static_cast<size_t>(breaks->first());
  for (int32_t next = breaks->next(); next != icu::BreakIterator::DONE; next = breaks->next()) {
    const std::string_view piece = paragraph.substr(start, static_cast<size_t>(next) - start);
    start = static_cast<size_t>(next);
    if (is_blank(piece)) {
      append_space(piece);
      continue;
    }
    const size_t before = leading_space(piece);
    const size_t after = trailing_space(piece);
    append_space(piece.substr(0, before));
    out.sentences.push_back({.text = std::string(piece.substr(before, piece.size() - before - after)),
                             .separator = std::string(piece.substr(piece.size() - after))});
  }
  append_space(paragraph.substr(start));
  return out;
}

}  // namespace floe
