// The fields of a model's config.json, each named once for reading and writing.
#pragma once
#include "nn/config.h"
#include "translate/model_file.h"

namespace floe {

// Calls field(name, member) for every field of `config`, a ModelConfig or a const one.
template <class Config, class F>
void each_model_field(Config& config, F&& field) {
  field("architecture", config.architecture);
  field("d_model", config.d_model);
  field("encoder_layers", config.encoder_layers);
  field("decoder_layers", config.decoder_layers);
  field("heads", config.heads);
  field("kv_heads", config.kv_heads);
  field("d_ff", config.d_ff);
  field("source_vocabulary", config.source_vocabulary);
  field("target_vocabulary", config.target_vocabulary);
  field("norm_placement", config.norm_placement);
  field("norm_kind", config.norm_kind);
  field("norm_epsilon", config.norm_epsilon);
  field("activation", config.activation);
  field("biases", config.biases);
  field("output_bias", config.output_bias);
  field("positions", config.positions);
  field("sinusoid", config.sinusoid);
  field("max_positions", config.max_positions);
  field("rotary_base", config.rotary_base);
  field("rotary_interleaved", config.rotary_interleaved);
  field("scale_embeddings", config.scale_embeddings);
  field("tied", config.tied);
  field("residual_dropout", config.residual_dropout);
  field("attention_dropout", config.attention_dropout);
  field("activation_dropout", config.activation_dropout);
  field("pad_id", config.pad_id);
  field("start_id", config.start_id);
  field("eos_id", config.eos_id);
}

template <class Generation, class F>
void each_generation_field(Generation& generation, F&& field) {
  field("beam", generation.beam);
  field("length_penalty", generation.length_penalty);
  field("max_length_ratio", generation.max_length_ratio);
  field("repetition_penalty", generation.repetition_penalty);
  field("no_repeat_ngram", generation.no_repeat_ngram);
}

constexpr const char* kConfigFile = "config.json";
constexpr const char* kWeightsFile = "model.safetensors";
constexpr const char* kTokenizerFile = "tokenizer.model";
constexpr const char* kSourceTokenizerFile = "source.model";
constexpr const char* kTargetTokenizerFile = "target.model";
constexpr const char* kSourceVocabularyFile = "source_vocabulary.txt";
constexpr const char* kTargetVocabularyFile = "target_vocabulary.txt";

// Throws Error{user} with both sizes when a side's vocabulary is not as large as its embedding, and when a
// SentencePiece model's end token is another than the config's. `folder` stands for the model in messages.
void check_text(const ModelText& text, const ModelConfig& config, const std::string& folder);

}  // namespace floe
