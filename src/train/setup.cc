#include "train/setup.h"

#include "base/error.h"

namespace floe {
namespace {

ModelConfig config_of(const TrainOptions& options, const ModelFile& begin) {
  if (!begin.config.has_encoder())
    fail_user("{}: the model is decoder-only; training is on parallel text and needs an encoder",
              options.init_from);
  if (!begin.text.source_ends)
    fail_user("{}: the model's sources have no end-of-sentence token; those of training do",
              options.init_from);
  ModelConfig config = begin.config;
  config.residual_dropout = options.model.residual_dropout;
  config.attention_dropout = options.model.attention_dropout;
  config.activation_dropout = options.model.activation_dropout;
  return config;
}

ModelConfig config_of(const TrainOptions& options, const TrainTokenizers& tokenizers) {
  ModelConfig config = options.model;
  config.source_vocabulary = tokenizers.source->size();
  config.target_vocabulary = tokenizers.target->size();
  const auto id = [](int32_t value, const char* what) {
    if (value < 0) fail_user("the target's tokenizer has no {} piece", what);
    return value;
  };
  config.pad_id = id(tokenizers.target->pad_id(), "padding");
  config.start_id = id(tokenizers.target->bos_id(), "begin-of-sentence");
  config.eos_id = id(tokenizers.target->eos_id(), "end-of-sentence");
  return config;
}

}  // namespace

ModelConfig model_config(const TrainOptions& options, const TrainTokenizers& tokenizers,
                         const ModelFile* begin) {
  const ModelConfig config = begin != nullptr ? config_of(options, *begin) : config_of(options, tokenizers);
  config.validate();
  // Both sides of a model end with one id.
  if (tokenizers.source->eos_id() != config.eos_id) {
    fail_user("the end of sentence is id {} of the source's tokenizer, but {} of the target's",
              tokenizers.source->eos_id(), config.eos_id);
  }
  check_lengths(options, config.max_positions);
  return config;
}

BatchOptions batch_options(const TrainOptions& options, const ModelConfig& config) {
  BatchOptions batch = options.batch;
  batch.seed = static_cast<uint64_t>(options.seed);
  batch.pad_id = config.pad_id;
  batch.start_id = config.start_id;
  batch.eos_id = config.eos_id;
  return batch;
}

}  // namespace floe
