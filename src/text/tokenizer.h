// Text to piece ids and back with a SentencePiece model, and the training of such models. No other header of
// Floe sees SentencePiece.
//
// Encoding a text adds no special ids. Invalid UTF-8 counts as U+FFFD, and decoded text is always valid
// UTF-8. A const Tokenizer may be used by several threads at once. SentencePiece prints nothing.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace floe {

// Subword regularisation. With a unigram model one segmentation is drawn from all of them with probability
// proportional to P(segmentation)^alpha (Kudo 2018, arXiv 1804.10959, l = infinity); with a BPE model alpha
// is the probability that a merge is left out (Provilkov et al. 2020, arXiv 1910.13267).
struct Sampling {
  float alpha = 0.1f;
  uint64_t seed = 0;
};

class Tokenizer {
 public:
  // Throw Error{io} when the file cannot be read, and Error{user} naming the file when its bytes are no
  // usable model: cut short, damaged or hostile bytes never reach the library.
  static Tokenizer load(const std::string& path);
  // `name` stands for the file in messages.
  static Tokenizer from_bytes(std::string bytes, const std::string& name);

  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  std::vector<int32_t> encode(std::string_view text) const;
  std::vector<std::string> encode_pieces(std::string_view text) const;
  // A function of seed, alpha and text alone, on any thread.
  std::vector<int32_t> encode_sampled(std::string_view text, Sampling sampling) const;

  // Control ids (padding, begin and end of sentence) leave no trace. Throws Error{user} for an id outside of
  // the vocabulary.
  std::string decode(std::span<const int32_t> ids) const;

  int32_t size() const;
  // The unknown id for a piece that the model does not have.
  int32_t id(std::string_view piece) const;
  // Throws Error{user} for an id outside of the vocabulary.
  const std::string& piece(int32_t id) const;
  bool is_control(int32_t id) const;

  // -1 when the model has no such piece; every model has an unknown piece.
  int32_t pad_id() const;
  int32_t bos_id() const;
  int32_t eos_id() const;
  int32_t unk_id() const;

  // Characters outside of the vocabulary become bytes, so nothing is unknown.
  bool has_byte_fallback() const;

  // The bytes of the model, as they were loaded.
  const std::string& bytes() const;

 private:
  class Model;
  explicit Tokenizer(std::unique_ptr<Model> model);
  std::unique_ptr<Model> model_;
};

}  // namespace floe
