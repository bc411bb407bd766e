// A model that is ready to translate: its weights in a state, its graphs compiled.
#pragma once
#include <memory>

#include "passes/mixed_precision.h"
#include "translate/model_file.h"
#include "translate/translator.h"

namespace floe {

class DecodeEngine;
class Device;

struct ModelSessionOptions {
  bool kv_cache = true;                  // false: every step reads the whole prefix anew, for comparison
  int64_t beam = 4;                      // the widest search to come; caches are sized for it
  Precision precision = Precision::f32;  // bf16: on a GPU
};

class ModelSession {
 public:
  // The device must outlive the session. Takes the weights over. Rows and caches are made to fit the memory
  // that the device has left (Device::memory_available); throws OutOfMemory when one sentence does not fit.
  ModelSession(ModelFile model, Device& device, const ModelSessionOptions& options = {});
  ~ModelSession();
  ModelSession(const ModelSession&) = delete;
  ModelSession& operator=(const ModelSession&) = delete;

  // Throws as Translator does. Translators of one session share its engine: one call at a time.
  Translator translator(const TranslatorOptions& options, Translator::Warn warn);

  const ModelConfig& config() const { return config_; }
  const ModelText& text() const { return text_; }
  DecodeEngine& engine();

 private:
  struct Parts;
  ModelConfig config_;
  ModelText text_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace floe
