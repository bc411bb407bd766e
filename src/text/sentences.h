// Cuts a paragraph into sentences by the Unicode rules (UAX #29, as ICU has them for the language) minus the
// breaks after the abbreviations that ICU lists for the language ("Mr.", "z. B."). Nothing is lost: lead and
// the sentences with what follows each join to the paragraph byte for byte, whatever its bytes.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace floe {

struct Sentence {
  std::string text;       // never empty or blank; no white space at its ends
  std::string separator;  // what is blank up to the next sentence or the end
};

struct Paragraph {
  std::string lead;  // what is blank before the first sentence; the whole paragraph when that is blank
  std::vector<Sentence> sentences;

  std::string join() const;
};

class SentenceSplitter {
 public:
  // `language` is a BCP 47 tag such as "en" or "zh-Hant"; one that ICU has no rules for gets the general
  // rules. Throws Error{user} for a tag that is not one.
  explicit SentenceSplitter(const std::string& language = "en");

  // May be called from several threads at once.
  Paragraph split(std::string_view paragraph) const;

 private:
  class Rules;
  std::shared_ptr<const Rules> rules_;
};

}  // namespace floe
