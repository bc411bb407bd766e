#include "translate/text_codec.h"

#include <algorithm>

#include "base/error.h"
#include "text/lines.h"
#include "text/utf8.h"

namespace floe {
namespace {

constexpr std::string_view kWordStart = "\xE2\x96\x81";  // U+2581, SentencePiece's mark of a space

size_t character_bytes(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// The characters of valid UTF-8.
std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const size_t n = std::min(character_bytes(text[0]), text.size());
    out.push_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return out;
}

std::vector<std::string> cut(const std::string& text, TokenSplit split) {
  std::vector<std::string> out;
  bool inside = false;
  for (const std::string_view c : characters(text)) {
    const bool space = c == " " || c == "\t" || c == "\n" || c == "\r";
    if (space) {
      inside = false;
    } else if (split == TokenSplit::characters || !inside) {
      out.emplace_back(c);
      inside = true;
    } else {
      out.back() += c;
    }
  }
  return out;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '\r', ' ');
  return text;
}

}  // namespace

TextCodec::TextCodec(Tokenizer tokenizer) : tokenizer_(std::make_shared<Tokenizer>(std::move(tokenizer))) {}

TextCodec::TextCodec(Vocabulary vocabulary, TokenSplit split, std::vector<int32_t> silent)
    : vocabulary_(std::make_shared<Vocabulary>(std::move(vocabulary))),
      split_(split),
      silent_(std::move(silent)) {}

TokenSplit TextCodec::split_for(const std::vector<std::string>& tokens) {
  for (const std::string& token : tokens) {
    const bool marker = token.size() > 2 && token.front() == '<' && token.back() == '>';
    if (!marker && characters(token).size() > 1) return TokenSplit::spaces;
  }
  return TokenSplit::characters;
}

int64_t TextCodec::size() const {
  return tokenizer_ ? tokenizer_->size() : static_cast<int64_t>(vocabulary_->size());
}

int32_t TextCodec::unknown_id() const {
  return tokenizer_ ? tokenizer_->unk_id() : vocabulary_->unknown_id().value_or(-1);
}

const std::string& TextCodec::token(int32_t id) const {
  return tokenizer_ ? tokenizer_->piece(id) : vocabulary_->token(id);
}

int32_t TextCodec::find(std::string_view token) const {
  if (!tokenizer_) return vocabulary_->find(token).value_or(-1);
  const int32_t id = tokenizer_->id(token);
  return tokenizer_->piece(id) == token ? id : -1;
}

TokenizedText TextCodec::encode(std::string_view text) const {
  TokenizedText out;
  if (tokenizer_) {
    out.ids = tokenizer_->encode(text);
    out.tokens = tokenizer_->encode_pieces(text);
    FLOE_CHECK(out.ids.size() == out.tokens.size(), "{} ids for {} pieces", out.ids.size(),
               out.tokens.size());
  } else {
    out.tokens = cut(replace_invalid_utf8(std::string(text)), split_);
    out.ids = vocabulary_->ids(out.tokens);
  }
  return out;
}

std::string TextCodec::decode(std::span<const int32_t> ids,
                              const std::map<size_t, std::string>& replaced) const {
  if (!tokenizer_) return one_line(replace_invalid_utf8(join_tokens(ids, replaced)));
  return one_line(replaced.empty() ? tokenizer_->decode(ids) : decode_pieces(ids, replaced));
}

// SentencePiece drops the mark of a space at the start of a text only. So what lies between two replaced
// pieces is decoded on its own, and its lost leading space is put back.
std::string TextCodec::decode_pieces(std::span<const int32_t> ids,
                                     const std::map<size_t, std::string>& replaced) const {
  std::string text;
  const auto append = [&](std::string_view surface, bool word_start) {
    if (word_start && !text.empty()) text += ' ';
    text += surface;
  };
  size_t begin = 0;
  const auto append_run = [&](size_t end) {
    const auto run = ids.subspan(begin, end - begin);
    const auto visible =
        std::find_if(run.begin(), run.end(), [&](int32_t id) { return !tokenizer_->is_control(id); });
    if (visible == run.end()) return;
    append(tokenizer_->decode(run), tokenizer_->piece(*visible).starts_with(kWordStart));
  };
  for (const auto& [position, token] : replaced) {
    append_run(position);
    std::string_view surface = token;
    const bool word_start = surface.starts_with(kWordStart);
    if (word_start) surface.remove_prefix(kWordStart.size());
    append(surface, word_start);
    begin = position + 1;
  }
  append_run(ids.size());
  return replace_invalid_utf8(std::move(text));
}

std::string TextCodec::join_tokens(std::span<const int32_t> ids,
                                   const std::map<size_t, std::string>& replaced) const {
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto other = replaced.find(i);
    if (other == replaced.end() && std::find(silent_.begin(), silent_.end(), ids[i]) != silent_.end())
      continue;
    if (split_ == TokenSplit::spaces && !text.empty()) text += ' ';
    text += other != replaced.end() ? other->second : vocabulary_->token(ids[i]);
  }
  return text;
}

}  // namespace floe
