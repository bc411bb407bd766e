// A model is a folder:
//   config.json        format_version, "model" (nn/config.h, every field), "text", "generation", "notes"
//   model.safetensors  the weights of nn/weights.h's table that are trained; f32, bf16, f16, or codes i8 with
//                      scales f32 beside them, NAME.scale, and NAME.input_scale where calibrated
//   tokenizer.model    one SentencePiece model for both sides; or source.model and target.model; or, for
//   given lists of
//                      tokens, source_vocabulary.txt and target_vocabulary.txt (the same file where they are
//                      one)
// A folder with model.bin in place of config.json is read as CTranslate2's (interop/ctranslate2.h).
#pragma once
#include <map>
#include <string>

#include "nn/config.h"
#include "nn/weights.h"
#include "tensor/dtype.h"
#include "translate/translator.h"

namespace floe {

constexpr int kModelFormatVersion = 1;

// What a model's maker found to serve it best; an option that is given wins.
struct GenerationDefaults {
  int64_t beam = 4;
  double length_penalty = 1;
  double max_length_ratio = 3;
  double repetition_penalty = 1;
  int64_t no_repeat_ngram = 0;
  bool operator==(const GenerationDefaults&) const = default;
};

struct ModelFile {
  ModelConfig config;
  Weights weights;  // tables made from the config included
  ModelText text;   // lengths and special ids follow from the config
  GenerationDefaults generation;
  std::map<std::string, std::string> notes;  // how it was trained, for people
};

// Throws Error{io}: the folder or a file of it is missing or unreadable. Throws Error{user} naming the file
// and in it the field, token list or tensor: a format_version that is newer, an unknown or missing key, a
// value out of range, a tensor that is missing, has no place, or is of other dims, a vocabulary that is not
// as large as its embedding.
ModelFile load_model(const std::string& folder);

// The lengths and special ids that a config means.
void apply_config(const ModelConfig& config, ModelText* text);

// Options as the model's maker set them.
TranslatorOptions options_of(const GenerationDefaults& generation);

// Writes a temporary folder beside `folder`, then puts it in the place of an earlier model. Weights are
// stored as `store` (f32, bf16, f16), INT8 ones as they are. Throws Error{user}: weights or vocabularies that
// do not fit the config, a folder that exists and is no model; Error{io}.
void save_model(const std::string& folder, const ModelFile& model, DType store = DType::f32);

}  // namespace floe
