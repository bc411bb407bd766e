// The text side of a training run: tokenizers, loaded or trained, and the corpora as ids.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "text/corpus.h"
#include "text/tokenizer.h"
#include "train/batches.h"
#include "train/options.h"

namespace floe {

struct TrainTokenizers {
  std::shared_ptr<const Tokenizer> source, target;  // the same object when one vocabulary serves both sides
  bool joint() const { return source == target; }
};

// In this order: those of the model that training begins with (init_from); the files named in the options;
// else one joint model RUN/tokenizer.model. A file that is not there is trained from the corpora and written.
// `note` gets a line for what was done. Throws Error{user} as text/tokenizer.h does.
TrainTokenizers prepare_tokenizers(const TrainOptions& options,
                                   const std::function<void(const std::string&)>& note);

// The corpora of a run. With subword_alpha every epoch sees other segmentations, a pure function of (seed,
// epoch).
class TrainingText {
 public:
  TrainingText(const TrainOptions& options, const TrainTokenizers& tokenizers);

  const CorpusReport& report() const { return corpus_.report(); }
  // Refers to this object.
  PairCorpus pairs();

 private:
  void segment(uint64_t seed, uint64_t epoch);

  TrainTokenizers tokenizers_;
  double alpha_;
  Corpus corpus_;
  uint64_t segmented_ = 0;  // epoch of the ids below; 0: none
  IdSequences source_, target_;
};

}  // namespace floe
