// One side of a model: text to tokens and back, with a SentencePiece model or a given list of tokens.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace floe {

// How text is cut for a given list of tokens: at white space, or into characters (white space dropped).
// Decoded text is joined with one space, or with nothing.
enum class TokenSplit { spaces, characters };

struct TokenizedText {
  std::vector<int32_t> ids;
  std::vector<std::string> tokens;  // as the text has them, also where the id is that of the unknown token
};

class TextCodec {
 public:
  explicit TextCodec(Tokenizer tokenizer);
  // Ids in `silent` (padding, begin and end of sentence) leave no trace in decoded text.
  TextCodec(Vocabulary vocabulary, TokenSplit split, std::vector<int32_t> silent);

  // Characters when every token but those written <like this> is one character, else spaces.
  static TokenSplit split_for(const std::vector<std::string>& tokens);

  int64_t size() const;
  int32_t unknown_id() const;  // -1 when there is none
  const std::string& token(int32_t id) const;
  // -1 when there is no such token.
  int32_t find(std::string_view token) const;
  const Tokenizer* tokenizer() const { return tokenizer_ ? &*tokenizer_ : nullptr; }
  const Vocabulary* vocabulary() const { return vocabulary_ ? &*vocabulary_ : nullptr; }
  TokenSplit split() const { return split_; }

  // No special ids are added. Throws Error{user} for a token that the list lacks when it has no unknown
  // token.
  TokenizedText encode(std::string_view text) const;

  // Valid UTF-8 without line feeds, whatever the ids. `replaced` gives other tokens for some positions.
  std::string decode(std::span<const int32_t> ids, const std::map<size_t, std::string>& replaced = {}) const;

 private:
  std::string decode_pieces(std::span<const int32_t> ids,
                            const std::map<size_t, std::string>& replaced) const;
  std::string join_tokens(std::span<const int32_t> ids, const std::map<size_t, std::string>& replaced) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  TokenSplit split_ = TokenSplit::spaces;
  std::vector<int32_t> silent_;
};

}  // namespace floe
