// What the options of a run mean for its model and its batches, once the tokenizers are there.
#pragma once
#include "nn/config.h"
#include "train/batches.h"
#include "train/options.h"
#include "train/text_data.h"
#include "translate/model_file.h"

namespace floe {

// `begin` is the model that fine-tuning begins with, or null. Its config holds then, with the run's dropout.
// Throws Error{user}: a tokenizer without padding, begin or end of sentence; two tokenizers whose ends
// differ; sentences of max_length that the model does not take; a model to begin with that is decoder-only or
// whose sources have no end (training text is parallel, and its sources end).
ModelConfig model_config(const TrainOptions& options, const TrainTokenizers& tokenizers,
                         const ModelFile* begin);

BatchOptions batch_options(const TrainOptions& options, const ModelConfig& config);

}  // namespace floe
