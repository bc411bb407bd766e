#include "text/tokenizer_train.h"

#include <sentencepiece_trainer.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "text/counter_random.h"
#include "text/lines.h"
#include "text/sentencepiece_log.h"
#include "text/utf8.h"

namespace floe {
namespace {

constexpr size_t kMaxLineBytes = 4192;  // the library passes over longer lines
constexpr int32_t kSpecialPieces = 4;
constexpr int32_t kBytePieces = 256;
// Reserved by the library: the mark of a space, and the mark of a character outside of the vocabulary.
constexpr UChar32 kSpaceMark = 0x2581;
constexpr std::string_view kUnknownMark = "\xE2\x96\x85";

// Something survives the library's normalisation, which drops controls and takes U+FFFD and the space mark
// for space. A text with nothing left would end the process inside the library.
bool teaches(std::string_view line) {
  if (line.size() > kMaxLineBytes || line.find(kUnknownMark) != std::string_view::npos) return false;
  const auto* s = reinterpret_cast<const uint8_t*>(line.data());
  for (int32_t i = 0; i < static_cast<int32_t>(line.size());) {
    UChar32 c;
    U8_NEXT_OR_FFFD(s, i, static_cast<int32_t>(line.size()), c);
    constexpr uint32_t kInk = U_GC_L_MASK | U_GC_N_MASK | U_GC_P_MASK | U_GC_S_MASK;
    if (c != 0xFFFD && c != kSpaceMark && (U_GET_GC_MASK(c) & kInk) != 0 &&
        !u_hasBinaryProperty(c, UCHAR_DEFAULT_IGNORABLE_CODE_POINT)) {
      return true;
    }
  }
  return false;
}

std::vector<std::string> gather(const TokenizerTraining& options) {
  std::vector<std::string> lines;
  const auto add = [&](std::string line) {
    if (teaches(line)) lines.push_back(std::move(line));
  };
  for (const auto& path : options.files) {
    LineReader reader(path);
    for (std::string line; reader.next(line);) add(line);
  }
  for (const auto& line : options.lines) add(replace_invalid_utf8(line));
  if (lines.empty()) fail_user("no line of the text teaches a tokenizer anything: all are blank or too long");
  if (options.max_lines == 0 || options.max_lines >= lines.size()) return lines;

  // The lines with the smallest hashes, in their order in the text.
  std::vector<size_t> chosen(lines.size());
  std::iota(chosen.begin(), chosen.end(), size_t{0});
  const auto hash = [&](size_t k) { return std::pair(counter_random({.seed = options.seed}, k), k); };
  std::nth_element(chosen.begin(), chosen.begin() + static_cast<ptrdiff_t>(options.max_lines), chosen.end(),
                   [&](size_t a, size_t b) { return hash(a) < hash(b); });
  chosen.resize(options.max_lines);
  std::sort(chosen.begin(), chosen.end());
  std::vector<std::string> kept;
  kept.reserve(chosen.size());
  for (const size_t k : chosen) kept.push_back(std::move(lines[k]));
  return kept;
}

void check_options(const TokenizerTraining& options) {
  // The library's own range.
  if (!(options.character_coverage >= 0.98 && options.character_coverage <= 1.0)) {
    fail_user("character coverage {} is outside of 0.98 to 1", options.character_coverage);
  }
  std::set<std::string> seen{"<pad>", "<unk>", "<s>", "</s>"};
  for (const auto& symbol : options.user_symbols) {
    if (is_blank(symbol) || symbol.find_first_of(std::string_view(" \t\r\n\0", 5)) != std::string::npos ||
        !is_valid_utf8(symbol)) {
      fail_user("the user-defined symbol \"{}\" is empty, holds white space or is not valid UTF-8", symbol);
    }
    if (!seen.insert(symbol).second) fail_user("the user-defined symbol \"{}\" is already taken", symbol);
  }
  const int64_t fixed = kSpecialPieces + static_cast<int64_t>(options.user_symbols.size()) +
                        (options.byte_fallback ? kBytePieces : 0);
  if (options.vocabulary_size <= fixed) {
    fail_user("a vocabulary of {} has no room beside its {} special, byte and user-defined pieces",
              options.vocabulary_size, fixed);
  }
}

// The library reads lists as comma-separated values.
std::string as_csv(const std::vector<std::string>& values) {
  std::string out;
  for (const auto& value : values) {
    if (!out.empty()) out += ',';
    out += '"';
    for (const char c : value) out.append(c == '"' ? 2 : 1, c);
    out += '"';
  }
  return out;
}

std::optional<int64_t> number_after(std::string_view text, std::string_view words) {
  const size_t at = text.find(words);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + words.size());
  int64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) return std::nullopt;
  return value;
}

[[noreturn]] void explain(const TokenizerTraining& options, std::string_view message) {
  if (const auto largest = number_after(message, "Please set it to a value <= ")) {
    fail_user("a vocabulary of {} is too large for this text: the largest possible is {}",
              options.vocabulary_size, *largest);
  }
  if (const auto smallest =
          number_after(message, fmt::format("required_chars. {} vs ", options.vocabulary_size))) {
    fail_user("a vocabulary of {} is too small: the special pieces and the characters of this text need {}",
              options.vocabulary_size, *smallest);
  }
  fail_user("training the tokenizer failed: {}", message);
}

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return at_ == lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  size_t at_ = 0;
};

}  // namespace

std::string train_tokenizer(const TokenizerTraining& options) {
  check_options(options);
  const auto text = gather(options);
  silence_sentencepiece();
  std::unordered_map<std::string, std::string> spec{
      {"vocab_size", fmt::format("{}", options.vocabulary_size)},
      {"model_type", options.type == TokenizerType::unigram ? "unigram" : "bpe"},
      {"character_coverage", fmt::format("{}", options.character_coverage)},
      {"byte_fallback", options.byte_fallback ? "true" : "false"},
      {"max_sentence_length", fmt::format("{}", kMaxLineBytes)},
      {"num_threads", "1"},  // the sums of unigram training depend on it
      {"pad_id", fmt::format("{}", kTrainedPadId)},
      {"unk_id", fmt::format("{}", kTrainedUnkId)},
      {"bos_id", fmt::format("{}", kTrainedBosId)},
      {"eos_id", fmt::format("{}", kTrainedEosId)},
  };
  if (!options.user_symbols.empty()) spec["user_defined_symbols"] = as_csv(options.user_symbols);
  Lines lines(text);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(spec, &lines, &model);
  if (!status.ok()) explain(options, status.message());
  return model;
}

}  // namespace floe
