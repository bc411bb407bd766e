#include "text/tokenizer.h"

#include <sentencepiece_processor.h>

#include <random>

#include "base/error.h"
#include "base/file.h"
#include "text/model_check.h"
#include "text/sentencepiece_log.h"
#include "text/utf8.h"

// The generator that SentencePiece draws from: one for each thread. The library exports it without a header;
// SetRandomGeneratorSeed reaches only threads that have not drawn yet.
namespace sentencepiece::random {
std::mt19937* GetRandomGenerator();
}

namespace floe {
namespace {

// All segmentations, not the n best.
constexpr int kWholeLattice = -1;

void check(const sentencepiece::util::Status& status, const char* what, const std::string& name) {
  if (!status.ok()) fail_user("{} with {} failed: {}", what, name, status.message());
}

}  // namespace

class Tokenizer::Model {
 public:
  Model(std::string bytes, const std::string& name) : name(name), bytes(std::move(bytes)) {
    silence_sentencepiece();
    check_sentencepiece_model(this->bytes, name);
    try {
      const auto status = processor.LoadFromSerializedProto(this->bytes);
      if (!status.ok()) fail_user("{} is not a usable SentencePiece model: {}", name, status.message());
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      fail_user("{} is not a usable SentencePiece model: {}", name, error.what());
    }
    size = processor.GetPieceSize();
    pad = processor.pad_id();
    bos = processor.bos_id();
    eos = processor.eos_id();
    for (int32_t k = 0; k < size; ++k) {
      if (processor.IsUnknown(k)) unk = k;
      byte_fallback = byte_fallback || processor.IsByte(k);
    }
  }

  void check_id(int32_t id) const {
    if (id < 0 || id >= size) fail_user("id {} is outside of the {} pieces of {}", id, size, name);
  }

  std::string name;
  std::string bytes;
  sentencepiece::SentencePieceProcessor processor;
  int32_t size = 0, pad = -1, bos = -1, eos = -1, unk = -1;
  bool byte_fallback = false;
};

Tokenizer::Tokenizer(std::unique_ptr<Model> model) : model_(std::move(model)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const std::string& path) { return from_bytes(read_file(path), path); }

Tokenizer Tokenizer::from_bytes(std::string bytes, const std::string& name) {
  return Tokenizer(std::make_unique<Model>(std::move(bytes), name));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  check(model_->processor.Encode(replace_invalid_utf8(std::string(text)), &ids), "encoding", model_->name);
  return ids;
}

std::vector<std::string> Tokenizer::encode_pieces(std::string_view text) const {
  std::vector<std::string> pieces;
  check(model_->processor.Encode(replace_invalid_utf8(std::string(text)), &pieces), "encoding", model_->name);
  return pieces;
}

std::vector<int32_t> Tokenizer::encode_sampled(std::string_view text, Sampling sampling) const {
  std::seed_seq seed{static_cast<uint32_t>(sampling.seed), static_cast<uint32_t>(sampling.seed >> 32)};
  sentencepiece::random::GetRandomGenerator()->seed(seed);
  std::vector<int> ids;
  check(model_->processor.SampleEncode(replace_invalid_utf8(std::string(text)), kWholeLattice, sampling.alpha,
                                       &ids),
        "sampling", model_->name);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::vector<int> visible;
  visible.reserve(ids.size());
  for (const int32_t id : ids) {
    if (!is_control(id)) visible.push_back(id);
  }
  std::string text;
  check(model_->processor.Decode(visible, &text), "decoding", model_->name);
  return replace_invalid_utf8(std::move(text));
}

int32_t Tokenizer::size() const { return model_->size; }
int32_t Tokenizer::id(std::string_view piece) const { return model_->processor.PieceToId(piece); }

const std::string& Tokenizer::piece(int32_t id) const {
  model_->check_id(id);
  return model_->processor.IdToPiece(id);
}

bool Tokenizer::is_control(int32_t id) const {
  model_->check_id(id);
  return model_->processor.IsControl(id);
}

int32_t Tokenizer::pad_id() const { return model_->pad; }
int32_t Tokenizer::bos_id() const { return model_->bos; }
int32_t Tokenizer::eos_id() const { return model_->eos; }
int32_t Tokenizer::unk_id() const { return model_->unk; }
bool Tokenizer::has_byte_fallback() const { return model_->byte_fallback; }
const std::string& Tokenizer::bytes() const { return model_->bytes; }

}  // namespace floe
