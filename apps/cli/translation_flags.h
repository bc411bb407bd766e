// The options of every command that translates.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "command.h"
#include "threads.h"
#include "translate/model_session.h"

namespace floe {

// What is not given stays as the model's maker set it.
struct TranslationFlags {
  std::string model;
  std::optional<int64_t> beam, min_length, max_length, no_repeat_ngram;
  std::optional<double> length_penalty, min_length_ratio, max_length_ratio, repetition_penalty;
  int64_t n_best = 1;
  bool sample = false;
  SamplingOptions sampling;
  int64_t loop_ngram = 0;
  std::vector<std::string> suppress;
  bool replace_unknown = false, split_sentences = false, strict = false, no_kv_cache = false;
  std::string language = "en";
  std::optional<int64_t> batch_tokens;
  DeviceFlags device;
  std::string precision = "f32";

  void add_to(CLI::App& app);
  TranslatorOptions options(const GenerationDefaults& defaults) const;
  ModelSessionOptions session(const TranslatorOptions& options) const;
};

}  // namespace floe
