// Models small enough to be made anew by every test.
#pragma once
#include <string>

#include "text/tokenizer_train.h"
#include "translate/model_file.h"

namespace floe {

inline ModelConfig small_config(int64_t vocabulary) {
  ModelConfig config;
  config.d_model = 8;
  config.encoder_layers = config.decoder_layers = 1;
  config.heads = config.kv_heads = 2;
  config.d_ff = 16;
  config.source_vocabulary = config.target_vocabulary = vocabulary;
  config.max_positions = 32;
  config.pad_id = 0;
  config.start_id = 2;
  config.eos_id = 3;
  return config;
}

// With given tokens: <pad> <unk> <s> </s> a b c d.
inline ModelFile small_model(uint32_t seed = 1) {
  const ModelConfig config = small_config(8);
  const TextCodec codec(Vocabulary({"<pad>", "<unk>", "<s>", "</s>", "a", "b", "c", "d"}, "letters", "<unk>"),
                        TokenSplit::spaces, {0, 2, 3});
  ModelFile model{
      .config = config, .weights = initial_weights(config, seed), .text = {.source = codec, .target = codec}};
  apply_config(config, &model.text);
  return model;
}

// With one SentencePiece model for both sides.
inline ModelFile small_sentencepiece_model(uint32_t seed = 1) {
  TokenizerTraining training;
  for (int i = 0; i < 200; ++i) training.lines.push_back("a cat sat on the mat number " + std::to_string(i));
  training.vocabulary_size = 40;
  training.type = TokenizerType::bpe;
  const TextCodec codec(Tokenizer::from_bytes(train_tokenizer(training), "cats"));
  const ModelConfig config = small_config(codec.size());
  ModelFile model{
      .config = config, .weights = initial_weights(config, seed), .text = {.source = codec, .target = codec}};
  apply_config(config, &model.text);
  return model;
}

}  // namespace floe
