#include "translate/translator.h"

#include <algorithm>
#include <new>
#include <set>

#include "base/error.h"
#include "text/lines.h"
#include "text/spacing.h"
#include "text/utf8.h"
#include "translate/batches.h"
#include "translate/options_check.h"

namespace floe {
namespace {

// Sentences of a line have ordinals of their own; a line with more shares them, which only makes draws alike.
constexpr int kSentenceBits = 16;

}  // namespace

// A line, or a sentence of one.
struct Translator::Piece {
  size_t line = 0;      // index into the lines of this call
  uint64_t number = 0;  // of the line, from 1
  TokenizedText source;
  int64_t read = 0;  // of the source's tokens; fewer when it was cut
  SequenceRow row;
  std::string separator;
  std::vector<Hypothesis> hypotheses;
  std::optional<std::string> failure;
};

const std::string& Translation::text() const {
  static const std::string kNone;
  return candidates.empty() ? kNone : candidates.front().text;
}

Translator::Translator(const ModelText& text, SequenceDecoder& decoder, const TranslatorOptions& options,
                       Warn warn)
    : text_(text), decoder_(decoder), options_(options), warn_(std::move(warn)) {
  if (options_.search.ends.empty()) options_.search.ends = {text_.eos_id};
  check_options(text_, options_);
  for (const std::string& token : options_.suppressed) {
    const int32_t id = text_.target.find(token);
    if (id < 0) fail_user("the suppressed token '{}' is not in the target vocabulary", token);
    options_.search.suppressed.push_back(id);
  }
  options_.search.suppressed.insert(options_.search.suppressed.end(), text_.silent.begin(),
                                    text_.silent.end());
  if (options_.split_sentences) splitter_.emplace(options_.language);
}

std::vector<Translation> Translator::translate(std::span<const std::string> lines,
                                               std::span<const std::string> prefixes, uint64_t first_line) {
  if (!prefixes.empty() && prefixes.size() != lines.size())
    fail_user("{} lines with {} prefixes", lines.size(), prefixes.size());
  if (!prefixes.empty() && options_.split_sentences)
    fail_user("prefixes cannot be given for lines that are split into sentences");

  std::vector<Piece> pieces;
  for (size_t i = 0; i < lines.size(); ++i)
    add_line(lines[i], prefixes.empty() ? nullptr : &prefixes[i], first_line + i, i, pieces);

  std::vector<int64_t> lengths;
  for (const Piece& piece : pieces) lengths.push_back(static_cast<int64_t>(piece.row.source.size()));
  const int64_t beams = options_.search.sampling ? options_.search.n_best : options_.search.beam;
  for (const auto& rows : make_batches(
           lengths, {.tokens = options_.batch_tokens, .rows = options_.batch_rows, .beams = beams})) {
    std::vector<Piece*> batch;
    for (const size_t row : rows) batch.push_back(&pieces[row]);
    decode(batch);
  }

  std::vector<Translation> out;
  for (size_t i = 0, begin = 0; i < lines.size(); ++i) {
    size_t end = begin;
    while (end < pieces.size() && pieces[end].line == i) ++end;
    out.push_back(joined(std::span(pieces).subspan(begin, end - begin)));
    begin = end;
  }
  return out;
}

void Translator::add_line(const std::string& line, const std::string* prefix, uint64_t number, size_t index,
                          std::vector<Piece>& pieces) {
  if (options_.strict && !is_valid_utf8(line)) fail_user("line {} is not valid UTF-8", number);
  if (is_blank(line)) return;
  const std::string text = replace_invalid_utf8(line);
  Paragraph paragraph;
  if (splitter_) {
    paragraph = splitter_->split(text);
  } else {
    paragraph.sentences.push_back({.text = text});
  }
  const size_t first = pieces.size();
  for (const Sentence& sentence : paragraph.sentences) {
    Piece piece = piece_of(sentence.text, prefix, number);
    if (piece.row.source.empty()) continue;
    piece.line = index;
    piece.separator = sentence.separator;
    piece.row.ordinal = (number << kSentenceBits) + (pieces.size() - first);
    pieces.push_back(std::move(piece));
  }
  const auto cut =
      std::find_if(pieces.begin() + static_cast<std::ptrdiff_t>(first), pieces.end(),
                   [](const Piece& p) { return p.read < static_cast<int64_t>(p.source.ids.size()); });
  if (cut == pieces.end()) return;
  if (options_.strict)
    fail_user("line {} has {} tokens; the model takes {}", number, cut->source.ids.size(), cut->read);
  warn_(fmt::format("line {} has {} tokens; the model takes {}, and what follows them is left out", number,
                    cut->source.ids.size(), cut->read));
}

// Without a source when nothing of the text asks for a translation.
Translator::Piece Translator::piece_of(const std::string& text, const std::string* prefix, uint64_t number) {
  Piece piece;
  piece.number = number;
  piece.source = text_.source.encode(text);
  const auto& tokens = piece.source.tokens;
  const bool says_nothing = std::all_of(tokens.begin(), tokens.end(), [&](const std::string& token) {
    return std::find(text_.tags.begin(), text_.tags.end(), token) != text_.tags.end() ||
           token == "\xE2\x96\x81";  // SentencePiece's mark of a space
  });
  if (says_nothing) return piece;

  const auto length = static_cast<int64_t>(piece.source.ids.size());
  piece.read = std::min(length, text_.max_source - (text_.source_ends ? 1 : 0));
  piece.row.source.assign(piece.source.ids.begin(), piece.source.ids.begin() + piece.read);
  if (text_.source_ends) piece.row.source.push_back(text_.eos_id);
  if (prefix != nullptr) piece.row.prefix = text_.target.encode(*prefix).ids;

  const LengthLimits limits =
      limits_for(options_.search, static_cast<int64_t>(piece.row.source.size()), text_.max_target);
  if (static_cast<int64_t>(piece.row.prefix.size()) > limits.max)
    fail_user("the prefix of line {} has {} tokens; its translation has at most {}", number,
              piece.row.prefix.size(), limits.max);
  return piece;
}

void Translator::decode(std::span<Piece*> batch) {
  std::vector<SequenceRow> rows;
  for (const Piece* piece : batch) rows.push_back(piece->row);
  AttentionRequest attention = options_.attention;
  attention.wanted = attention.wanted || options_.replace_unknown;
  std::string reason;
  try {
    auto results = decoder_.decode(rows, options_.search, attention);
    FLOE_CHECK(results.size() == rows.size(), "{} results for {} rows", results.size(), rows.size());
    for (size_t i = 0; i < batch.size(); ++i) batch[i]->hypotheses = std::move(results[i]);
    return;
  } catch (const std::bad_alloc&) {
    reason = "there is not enough memory";
  } catch (const OutOfMemory& error) {
    reason = error.what();
  }
  if (batch.size() == 1) {
    Piece& piece = *batch[0];
    piece.failure =
        fmt::format("line {} with {} tokens was not translated: {}", piece.number, piece.read, reason);
    warn_(*piece.failure);
    return;
  }
  decode(batch.first(batch.size() / 2));
  decode(batch.subspan(batch.size() / 2));
}

std::vector<Candidate> Translator::candidates_of(const Piece& piece) const {
  FLOE_CHECK(!piece.hypotheses.empty(), "no hypothesis for line {}", piece.number);
  std::vector<Candidate> out;
  std::set<std::string> texts;
  for (const Hypothesis& hypothesis : piece.hypotheses) {
    Candidate candidate = candidate_of(piece, hypothesis);
    // Other ids can spell the same text; samples are given as they were drawn.
    if (texts.insert(candidate.text).second || options_.search.sampling) out.push_back(std::move(candidate));
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  return out;
}

Candidate Translator::candidate_of(const Piece& piece, const Hypothesis& hypothesis) const {
  Candidate out{.log_probability = hypothesis.log_prob, .score = hypothesis.score};
  for (const int32_t id : hypothesis.tokens) out.tokens.push_back(text_.target.token(id));
  std::map<size_t, std::string> replaced;
  if (options_.attention.wanted || options_.replace_unknown) {
    Alignment alignment =
        alignment_of(hypothesis.attention,
                     {.read = piece.read, .original = static_cast<int64_t>(piece.source.ids.size())});
    FLOE_CHECK(alignment.rows() == static_cast<int64_t>(hypothesis.tokens.size()),
               "{} attention rows for {} tokens", alignment.rows(), hypothesis.tokens.size());
    if (options_.replace_unknown) {
      const auto sources = hard_alignment(alignment);
      for (size_t i = 0; i < hypothesis.tokens.size(); ++i) {
        if (hypothesis.tokens[i] != text_.target.unknown_id()) continue;
        out.tokens[i] = replaced[i] = piece.source.tokens[static_cast<size_t>(sources[i])];
      }
    }
    if (options_.attention.wanted) out.alignment = std::move(alignment);
  }
  out.text = text_.target.decode(hypothesis.tokens, replaced);
  return out;
}

Translation Translator::joined(std::span<Piece> pieces) const {
  Translation out;
  for (const Piece& piece : pieces) {
    out.source_tokens.insert(out.source_tokens.end(), piece.source.tokens.begin(), piece.source.tokens.end());
    if (piece.failure && !out.failure) out.failure = piece.failure;
  }
  if (out.failure) return out;
  if (pieces.size() == 1) {
    out.candidates = candidates_of(pieces[0]);
    return out;
  }
  Candidate whole;
  std::string separator;
  for (const Piece& piece : pieces) {
    const Candidate sentence = candidates_of(piece).front();
    if (separator.empty() || separator == " ")
      separator = space_between(whole.text, sentence.text) ? " " : "";
    whole.text += separator + sentence.text;
    whole.tokens.insert(whole.tokens.end(), sentence.tokens.begin(), sentence.tokens.end());
    whole.log_probability += sentence.log_probability;
    separator = piece.separator;
  }
  if (!pieces.empty()) {
    // Every sentence has an end token of its own.
    whole.score = options_.search.length_penalty.score(
        whole.log_probability, static_cast<int64_t>(whole.tokens.size() + pieces.size()));
  }
  if (pieces.empty() && options_.attention.wanted) whole.alignment.emplace();
  out.candidates.push_back(std::move(whole));
  return out;
}

}  // namespace floe
