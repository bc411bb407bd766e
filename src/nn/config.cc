#include "nn/config.h"

#include <array>
#include <cmath>
#include <span>
#include <string>

#include "base/error.h"

namespace floe {
namespace {

template <class T>
struct Named {
  T value;
  std::string_view name;
};

constexpr std::array<Named<Architecture>, 2> kArchitectures{
    {{Architecture::encoder_decoder, "encoder_decoder"}, {Architecture::decoder_only, "decoder_only"}}};
constexpr std::array<Named<NormPlacement>, 2> kPlacements{
    {{NormPlacement::pre, "pre"}, {NormPlacement::post, "post"}}};
constexpr std::array<Named<NormKind>, 2> kNorms{
    {{NormKind::layer_norm, "layer_norm"}, {NormKind::rms_norm, "rms_norm"}}};
constexpr std::array<Named<Activation>, 5> kActivations{{{Activation::relu, "relu"},
                                                         {Activation::gelu, "gelu"},
                                                         {Activation::gelu_tanh, "gelu_tanh"},
                                                         {Activation::silu, "silu"},
                                                         {Activation::swiglu, "swiglu"}}};
constexpr std::array<Named<PositionKind>, 4> kPositions{{{PositionKind::none, "none"},
                                                         {PositionKind::sinusoidal, "sinusoidal"},
                                                         {PositionKind::learned, "learned"},
                                                         {PositionKind::rotary, "rotary"}}};
constexpr std::array<Named<Tied>, 4> kTied{{{Tied::none, "none"},
                                            {Tied::source_target, "source_target"},
                                            {Tied::target_output, "target_output"},
                                            {Tied::all, "all"}}};
constexpr std::array<Named<Sinusoid>, 5> kSinusoids{{{Sinusoid::interleaved, "interleaved"},
                                                     {Sinusoid::opennmt, "opennmt"},
                                                     {Sinusoid::marian, "marian"},
                                                     {Sinusoid::hf_marian, "hf_marian"},
                                                     {Sinusoid::fairseq, "fairseq"}}};

template <class T, size_t n>
std::string_view name_in(const std::array<Named<T>, n>& rows, T value) {
  for (const Named<T>& row : rows) {
    if (row.value == value) return row.name;
  }
  FLOE_CHECK(false, "a value outside its enum: {}", static_cast<int>(value));
}

template <class T, size_t n>
void parse_in(const std::array<Named<T>, n>& rows, std::string_view what, std::string_view text, T* value) {
  std::string names;
  for (const Named<T>& row : rows) {
    if (row.name == text) {
      *value = row.value;
      return;
    }
    names += (names.empty() ? "" : ", ") + std::string(row.name);
  }
  fail_user("unknown {} '{}': there are {}", what, text, names);
}

void require_positive(std::string_view name, int64_t value) {
  if (value < 1) fail_user("model: {} must be at least 1, got {}", name, value);
  // Products of two sizes must stay far below 2^63.
  if (value > (INT64_C(1) << 30)) fail_user("model: {} = {} is beyond 2^30", name, value);
}

void require_rate(std::string_view name, double value) {
  if (!(value >= 0 && value < 1)) fail_user("model: {} must be in [0, 1), got {}", name, value);
}

void require_vocabulary(std::string_view name, int64_t value) {
  require_positive(name, value);
  if (value < 4) fail_user("model: {} must hold at least 4 tokens, got {}", name, value);
}

}  // namespace

void ModelConfig::validate() const {
  require_positive("d_model", d_model);
  require_positive("heads", heads);
  require_positive("kv_heads", kv_heads);
  require_positive("d_ff", d_ff);
  require_positive("decoder_layers", decoder_layers);
  require_positive("max_positions", max_positions);
  if (d_model % heads != 0) fail_user("model: heads = {} does not divide d_model = {}", heads, d_model);
  if (heads % kv_heads != 0) fail_user("model: kv_heads = {} does not divide heads = {}", kv_heads, heads);
  require_vocabulary("target_vocabulary", target_vocabulary);
  if (has_encoder()) {
    require_positive("encoder_layers", encoder_layers);
    require_vocabulary("source_vocabulary", source_vocabulary);
    if ((tied == Tied::all || tied == Tied::source_target) && source_vocabulary != target_vocabulary) {
      fail_user(
          "model: tied = {} needs one vocabulary, but source_vocabulary = {} and target_vocabulary = {}",
          name_of(tied), source_vocabulary, target_vocabulary);
    }
  } else {
    if (encoder_layers != 0)
      fail_user("model: a decoder_only model has no encoder_layers, got {}", encoder_layers);
    if (source_vocabulary != 0) {
      fail_user("model: a decoder_only model has no source_vocabulary, got {}", source_vocabulary);
    }
    if (tied == Tied::source_target) fail_user("model: tied = source_target needs an encoder");
  }
  if (positions == PositionKind::rotary && head_dim() % 2 != 0) {
    fail_user("model: rotary positions turn pairs, but the head size {} / {} = {} is odd", d_model, heads,
              head_dim());
  }
  if (positions == PositionKind::rotary && !(rotary_base > 1 && std::isfinite(rotary_base))) {
    fail_user("model: rotary_base must be finite and above 1, got {}", rotary_base);
  }
  if (positions == PositionKind::sinusoidal && (d_model % 2 != 0 || d_model < 4)) {
    fail_user("model: sinusoidal positions need an even d_model of at least 4, got {}", d_model);
  }
  if (!(norm_epsilon > 0 && norm_epsilon < 1))
    fail_user("model: norm_epsilon must be in (0, 1), got {}", norm_epsilon);
  require_rate("residual_dropout", residual_dropout);
  require_rate("attention_dropout", attention_dropout);
  require_rate("activation_dropout", activation_dropout);
  const std::pair<std::string_view, int32_t> ids[] = {
      {"pad_id", pad_id}, {"start_id", start_id}, {"eos_id", eos_id}};
  for (const auto& [name, id] : ids) {
    if (id < 0 || id >= target_vocabulary) {
      fail_user("model: {} = {} is outside the target vocabulary of {}", name, id, target_vocabulary);
    }
  }
  if (eos_id == pad_id)
    fail_user("model: eos_id and pad_id are both {}: the end would not be learnt", eos_id);
}

std::string_view name_of(Architecture value) { return name_in(kArchitectures, value); }
std::string_view name_of(NormPlacement value) { return name_in(kPlacements, value); }
std::string_view name_of(NormKind value) { return name_in(kNorms, value); }
std::string_view name_of(Activation value) { return name_in(kActivations, value); }
std::string_view name_of(PositionKind value) { return name_in(kPositions, value); }
std::string_view name_of(Tied value) { return name_in(kTied, value); }
std::string_view name_of(Sinusoid value) { return name_in(kSinusoids, value); }
void parse(std::string_view text, Architecture* value) {
  parse_in(kArchitectures, "architecture", text, value);
}
void parse(std::string_view text, NormPlacement* value) {
  parse_in(kPlacements, "norm placement", text, value);
}
void parse(std::string_view text, NormKind* value) { parse_in(kNorms, "norm", text, value); }
void parse(std::string_view text, Activation* value) { parse_in(kActivations, "activation", text, value); }
void parse(std::string_view text, PositionKind* value) {
  parse_in(kPositions, "kind of positions", text, value);
}
void parse(std::string_view text, Tied* value) { parse_in(kTied, "tying", text, value); }
void parse(std::string_view text, Sinusoid* value) { parse_in(kSinusoids, "sinusoid", text, value); }

}  // namespace floe
