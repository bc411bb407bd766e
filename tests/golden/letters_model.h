// A model of another shape than the published one, made by the test: 26 letters, grouped keys, RMS norms
// after their branches, gates, rotary positions. Its weights are random and spread enough to have opinions.
#pragma once
#include <random>
#include <string>

#include "translate/model_file.h"

namespace floe {

inline ModelFile letters_model() {
  std::vector<std::string> tokens = {"<pad>", "<unk>", "<s>", "</s>"};
  for (char c = 'a'; c <= 'z'; ++c) tokens.emplace_back(1, c);
  ModelConfig config;
  config.d_model = 24;
  config.encoder_layers = 2;
  config.decoder_layers = 3;
  config.heads = 6;
  config.kv_heads = 2;
  config.d_ff = 40;
  config.source_vocabulary = config.target_vocabulary = static_cast<int64_t>(tokens.size());
  config.norm_placement = NormPlacement::post;
  config.norm_kind = NormKind::rms_norm;
  config.activation = Activation::swiglu;
  config.positions = PositionKind::rotary;
  config.max_positions = 48;
  config.tied = Tied::none;
  config.output_bias = true;
  config.pad_id = 0;
  config.start_id = 2;
  config.eos_id = 3;
  const TextCodec codec(Vocabulary(tokens, "letters", "<unk>"), TokenSplit::characters, {0, 2, 3});
  ModelFile model{
      .config = config, .weights = initial_weights(config, 5), .text = {.source = codec, .target = codec}};
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (const WeightSpec& spec : weight_table(config)) {
    if (!spec.trainable) continue;
    Tensor& weight = model.weights.at(spec.name);
    for (int64_t i = 0; i < weight.size(); ++i) weight.as<float>()[i] += 0.3f * normal(random);
  }
  model.weights.at("output.bias").as<float>()[config.eos_id] += 1.5f;  // lengths of all kinds
  apply_config(config, &model.text);
  return model;
}

}  // namespace floe
