// Validation of weights: loss on a held-out text, and BLEU and chrF of what the model really decodes.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device/device.h"
#include "kernel/kernel.h"
#include "runtime/session.h"
#include "runtime/state.h"
#include "train/options.h"
#include "train/text_data.h"
#include "translate/model_file.h"

namespace floe {

class DecodeEngine;
class Translator;

class Validator {
 public:
  using Note = std::function<void(const std::string&)>;
  // Reads the text; an over-long line is cut, never left out, and `note` hears of it once. Kernels and device
  // must outlive the validator. Where memory is limited, takes what it needs now: OutOfMemory comes before
  // the first update. Throws Error{user}: no line to validate on, a beam that the search does not
  // take; and what text/lines.h throws.
  Validator(const TrainOptions& options, const ModelConfig& config, const TrainTokenizers& tokenizers,
            const KernelTable& kernels, Device& device, Note note);
  ~Validator();

  // Copies the model's weights out of `state`: of each weight NAME, PREFIX + NAME where that is there (the
  // averaged weights "ema.").
  void take(const State& state, const std::string& prefix);
  // Of the weights taken last. Values beside names: cross_entropy (nats a target token), perplexity, and
  // those of bleu and chrf (0..100) that the options name; NaN where the loss is no number.
  std::vector<std::pair<std::string, double>> run();
  // The weights taken last, as a model.
  ModelFile model() const;

 private:
  size_t reserve();
  double cross_entropy();
  std::vector<std::string> translate();

  TrainOptions options_;
  ModelConfig config_;
  ModelText text_;
  Device& device_;
  Note note_;
  std::vector<std::string> source_lines_, target_lines_;
  IdSequences source_ids_, target_ids_;
  State state_;
  std::shared_ptr<const Program> program_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<DecodeEngine> engine_;
  std::unique_ptr<Translator> translator_;  // none when no metric wants translations
  bool translated_ = false;
};

// What a validator of such a run will take of its device: the copy of the weights, the arena of the loss, and
// what the least search takes. (With more memory its DecodeEngine takes more.)
size_t validation_bytes(const TrainOptions& options, const ModelConfig& config, const KernelTable& kernels,
                        Device& device);

// What a model folder says of the text: one tokenizer for both sides or two, lengths from the config.
ModelText model_text(const ModelConfig& config, const TrainTokenizers& tokenizers);

}  // namespace floe
