// The training loop: batches, updates, validation, checkpoints; stoppable and resumable at any moment.
//
// A run is a folder:
//   options.toml        every option, as given or by default
//   tokenizer.model     unless the options name others
//   checkpoint-STEP/    train/checkpoint.h; links best-METRIC
//   metrics.jsonl       one JSON object a line, equal for equal options and seed: no times
//   best/               the model with the best first metric, as it was validated
//   model/              the final model: the mean of the last checkpoints (average_last > 1), else the best
//   one, else the last; of the averaged weights where there are any
//
// A run that was killed goes on from its latest checkpoint and leaves the same files as one that was not. One
// that has ended does nothing more than to write model/ again. A run that is refused changes nothing.
#pragma once
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "train/metrics.h"
#include "train/options.h"

namespace floe {

struct TrainSink {
  Progress::Sink write;  // where the progress goes; called from the training thread
  Progress::Options progress;
  const std::atomic<bool>* stop = nullptr;  // set by a signal: save a checkpoint and end
};

struct TrainResult {
  enum class End { finished, stopped, early, nothing_to_do } end = End::finished;
  int64_t updates = 0;
  int64_t skipped = 0;
  double seconds = 0;
  std::vector<std::pair<std::string, double>> metrics;  // of the last validation
};

// Throws Error{user} for options, files or a checkpoint that do not fit; Error{io}; and Error{user} with a
// report after options.max_skipped updates in a row whose gradient was not finite (the last good checkpoint
// stays).
TrainResult train(const TrainOptions& options, const TrainSink& sink);

}  // namespace floe
