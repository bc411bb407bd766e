// Training of SentencePiece models, in this process.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace floe {

enum class TokenizerType { unigram, bpe };

struct TokenizerTraining {
  std::vector<std::string> files;  // read as text/lines.h says; together with `lines`
  std::vector<std::string> lines;
  int32_t vocabulary_size = 8000;
  TokenizerType type = TokenizerType::unigram;
  double character_coverage = 1.0;  // share of the characters to have a piece; 0.9995 for Chinese or Japanese
  bool byte_fallback = false;       // 256 of the pieces are then bytes
  std::vector<std::string> user_symbols;  // always one piece, wherever they stand
  uint64_t max_lines = 0;                 // learn from so many lines chosen by `seed`; 0 means all
  uint64_t seed = 0;
};

// The first ids of every trained model: <pad>, <unk>, <s>, </s>.
constexpr int32_t kTrainedPadId = 0;
constexpr int32_t kTrainedUnkId = 1;
constexpr int32_t kTrainedBosId = 2;
constexpr int32_t kTrainedEosId = 3;

// Returns the bytes of the model: the same for the same options, on any machine with the same library. Lines
// longer than 4192 bytes and blank lines teach nothing and are passed over. Throws Error{user}: options out
// of range, no usable line, a vocabulary larger than the text can fill (naming the largest size that it can)
// or smaller than its characters need (naming the smallest).
std::string train_tokenizer(const TokenizerTraining& options);

}  // namespace floe
