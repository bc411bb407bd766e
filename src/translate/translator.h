// The door between text and the decoder: lines in, as many translations out, in the same order, whatever the
// lines hold.
//
// A blank line (nothing with ink, or nothing but language tags) is never decoded: it gives an empty text with
// score 0. Invalid UTF-8 counts as U+FFFD. A sentence longer than the model takes is cut with one warning
// that names its line. Sentences are decoded longest first within a budget of padded tokens; when memory does
// not suffice, the batch is halved until a single line fails, and that line alone has a failure for a
// translation.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/sentences.h"
#include "translate/alignment.h"
#include "translate/sequence_decoder.h"
#include "translate/text_codec.h"

namespace floe {

// How the text of a model's two sides becomes its input.
struct ModelText {
  TextCodec source, target;
  bool source_ends = true;  // the source ends with the end token
  int32_t eos_id = 2;
  std::vector<int32_t> silent;    // target ids that no translation may hold: padding and the start token
  std::vector<std::string> tags;  // source tokens that choose a language: a line of tags alone is blank
  int64_t max_source = 0;         // tokens that the encoder takes, special ones included
  int64_t max_target = 0;         // tokens that the decoder can give
};

struct TranslatorOptions {
  SearchOptions search;  // lengths included; `ends` is filled in when empty
  AttentionRequest attention;
  std::vector<std::string> suppressed;  // tokens that no translation may hold
  bool replace_unknown = false;         // by the source token with the most attention
  bool split_sentences = false;         // each sentence of a line is translated on its own
  std::string language = "en";          // whose rules end a source sentence
  // Padded source tokens times beams, and sentences, that the decoder gets at once. Many: it takes as many as
  // fit its caches and fills the places of those that are done.
  int64_t batch_tokens = 1 << 20;
  int64_t batch_rows = 4096;
  bool strict = false;  // over-long lines and invalid UTF-8 are errors that name the line
};

struct Candidate {
  std::string text;  // valid UTF-8 without line feeds
  std::vector<std::string> tokens;
  double log_probability = 0;
  double score = 0;                    // by which candidates are ranked (decode/options.h)
  std::optional<Alignment> alignment;  // when attention is asked for
};

struct Translation {
  std::vector<Candidate>
      candidates;  // best first, no two with the same text; one at least unless the line failed
  std::vector<std::string> source_tokens;
  std::optional<std::string> failure;
  const std::string& text() const;  // of the best candidate; empty for a failed line
};

class Translator {
 public:
  using Warn = std::function<void(const std::string&)>;

  // Throws Error{user}: options out of range (naming the value and the limit), a suppressed token that the
  // vocabulary lacks, options that exclude each other. The decoder must outlive the translator.
  Translator(const ModelText& text, SequenceDecoder& decoder, const TranslatorOptions& options, Warn warn);

  // `first_line` is the 1-based number of lines[0], for messages and random draws. `prefixes`: none, or one
  // for each line; throws Error{user} with both counts else.
  std::vector<Translation> translate(std::span<const std::string> lines,
                                     std::span<const std::string> prefixes = {}, uint64_t first_line = 1);

  const TranslatorOptions& options() const { return options_; }

 private:
  struct Piece;
  void add_line(const std::string& line, const std::string* prefix, uint64_t number, size_t index,
                std::vector<Piece>& pieces);
  Piece piece_of(const std::string& text, const std::string* prefix, uint64_t number);
  void decode(std::span<Piece*> batch);
  std::vector<Candidate> candidates_of(const Piece& piece) const;
  Candidate candidate_of(const Piece& piece, const Hypothesis& hypothesis) const;
  Translation joined(std::span<Piece> pieces) const;

  ModelText text_;
  SequenceDecoder& decoder_;
  TranslatorOptions options_;
  Warn warn_;
  std::optional<SentenceSplitter> splitter_;
};

}  // namespace floe
