// A given list of tokens: a token's id is its place in the list. For models whose text is already cut into
// tokens; models with a SentencePiece file use text/tokenizer.h.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace floe {

class Vocabulary {
 public:
  // One token a line; lines are read as text/lines.h says, so CRLF files give the same tokens as LF files.
  // With an unknown token, tokens that are not in the list take its id. Throws Error{user} naming the file
  // and the lines: a token given twice, an empty list, an unknown token that is not in the list.
  static Vocabulary load(const std::string& path, std::optional<std::string> unknown = std::nullopt);

  // `name` stands for the file in messages.
  Vocabulary(std::vector<std::string> tokens, const std::string& name,
             std::optional<std::string> unknown = std::nullopt);

  size_t size() const { return tokens_.size(); }
  const std::string& token(int32_t id) const;
  std::optional<int32_t> find(std::string_view token) const;
  std::optional<int32_t> unknown_id() const { return unknown_id_; }

  // Throws Error{user} naming the token when it is not in the list and there is no unknown token.
  int32_t id(std::string_view token) const;
  std::vector<int32_t> ids(const std::vector<std::string>& tokens) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  std::string name_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::optional<int32_t> unknown_id_;
};

}  // namespace floe
