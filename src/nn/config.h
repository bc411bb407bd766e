// What a Transformer is: every choice that changes its weights or its graph, as plain data. One config
// describes the models we train and those we read from other engines, so conventions that differ between
// them are fields here.
#pragma once
#include <cstdint>
#include <string_view>

namespace floe {

enum class Architecture { encoder_decoder, decoder_only };
enum class NormPlacement { pre, post };  // pre adds one norm after the last layer of each stack
enum class NormKind { layer_norm, rms_norm };
// swiglu: silu(gate) * up, with twice d_ff rows in "up"
enum class Activation { relu, gelu, gelu_tanh, silu, swiglu };
enum class PositionKind { none, sinusoidal, learned, rotary };
// Which of the embeddings and the output projection are one matrix.
enum class Tied { none, source_target, target_output, all };

// Five tables in use under one name; a wrong one still gives fluent text. With d = d_model and i below d / 2:
// - interleaved: sine at 2i, cosine at 2i + 1, scale 10000^(-2i/d), counted from 0 (Vaswani et al.,
// "Attention
//   is all you need", 2017)
// - opennmt, CTranslate2's too: sines in the first half, cosines in the second, scale 10000^(-i/(d/2-1)),
// from 1
// - marian: as opennmt, from 0
// - hf_marian: halves, scale 10000^(-2i/d), from 0
// - fairseq: as opennmt, from pad_id + 1
enum class Sinusoid { interleaved, opennmt, marian, hf_marian, fairseq };

struct ModelConfig {
  Architecture architecture = Architecture::encoder_decoder;
  int64_t d_model = 512;
  int64_t encoder_layers = 6;  // 0 for decoder_only
  int64_t decoder_layers = 6;
  int64_t heads = 8;
  int64_t kv_heads = 8;  // each serves heads / kv_heads query heads (Ainslie et al., "GQA", 2023)
  int64_t d_ff = 2048;
  int64_t source_vocabulary = 0;  // 0 for decoder_only
  int64_t target_vocabulary = 0;

  NormPlacement norm_placement = NormPlacement::post;
  NormKind norm_kind = NormKind::layer_norm;
  double norm_epsilon = 1e-5;
  Activation activation = Activation::relu;
  bool biases = true;        // of every linear layer inside the stacks
  bool output_bias = false;  // of the projection to the vocabulary

  PositionKind positions = PositionKind::sinusoidal;
  Sinusoid sinusoid = Sinusoid::interleaved;
  int64_t max_positions = 512;  // longest source, target or prefix
  double rotary_base = 10000;
  bool rotary_interleaved = false;

  bool scale_embeddings = true;  // by sqrt(d_model), before positions are added
  Tied tied = Tied::all;

  double residual_dropout = 0.1;  // on embeddings and on every branch before it joins the residual
  double attention_dropout = 0;   // on attention probabilities
  double activation_dropout = 0;  // inside the feed-forward layer

  int32_t pad_id = 0;    // in targets: a position without a token, in neither loss nor scores
  int32_t start_id = 1;  // what the decoder reads first
  int32_t eos_id = 2;

  int64_t head_dim() const { return d_model / heads; }
  bool has_encoder() const { return architecture == Architecture::encoder_decoder; }
  bool has_dropout() const { return residual_dropout > 0 || attention_dropout > 0 || activation_dropout > 0; }

  // Throws Error{user} naming the field and what would be right.
  void validate() const;
  bool operator==(const ModelConfig&) const = default;
};

// Names as they stand in files and messages: "encoder_decoder", "rms_norm", "gelu_tanh", ... parse throws
// Error{user} listing the names there are.
std::string_view name_of(Architecture value);
std::string_view name_of(NormPlacement value);
std::string_view name_of(NormKind value);
std::string_view name_of(Activation value);
std::string_view name_of(PositionKind value);
std::string_view name_of(Tied value);
std::string_view name_of(Sinusoid value);
void parse(std::string_view text, Architecture* value);
void parse(std::string_view text, NormPlacement* value);
void parse(std::string_view text, NormKind* value);
void parse(std::string_view text, Activation* value);
void parse(std::string_view text, PositionKind* value);
void parse(std::string_view text, Tied* value);
void parse(std::string_view text, Sinusoid* value);

}  // namespace floe
