// Checkpoints: folders RUN/checkpoint-STEP with
//   model.safetensors    the weights
//   trainer.safetensors  what else an update needs (Adam's moments, averaged weights)
//   state.json           the numbers below
// A checkpoint is written under another name, flushed to the disk and then renamed: after a kill or a power
// cut at any moment a folder of that name is whole. The tensor files carry a hash of state.json, so that
// files of different checkpoints cannot be mixed.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/safetensors.h"
#include "train/batches.h"
#include "train/schedule.h"

namespace floe {

struct TrainerState {
  int64_t step = 0;  // updates done
  BatchPosition position;
  uint64_t batches_fingerprint = 0;
  DecayState decay;
  EarlyStopState early_stop;
  uint64_t seed = 0;
  int64_t target_tokens = 0;  // seen so far
  int64_t skipped = 0;        // updates with a gradient that was not finite
  int64_t skipped_in_a_row = 0;
  double seconds = 0;                                   // of training
  std::vector<std::pair<std::string, double>> metrics;  // of the latest validation; NaN and infinity are kept
  std::string options_hash;
  bool operator==(const TrainerState&) const = default;
};

struct CheckpointTensors {
  std::span<const NamedTensor> model;
  std::span<const NamedTensor> trainer;
};

// Returns the checkpoint's folder. One that stands there with this step is replaced. Throws Error{io}, after
// which every earlier checkpoint is as it was. One process may write into a run's folder at a time; what a
// killed one left half-written is removed.
std::string save_checkpoint(const std::string& run, const TrainerState& state,
                            const CheckpointTensors& tensors);

struct Checkpoint {
  std::string path;
  TrainerState state;
  SafetensorsFile model;
  SafetensorsFile trainer;
};

// Throws Error{user} naming the file: missing, cut off, of another format version or of another checkpoint.
Checkpoint load_checkpoint(const std::string& path);

// Steps of the checkpoints there, ascending; a run's folder that does not exist has none.
std::vector<int64_t> checkpoint_steps(const std::string& run);
std::string checkpoint_path(const std::string& run, int64_t step);
std::optional<std::string> latest_checkpoint(const std::string& run);

// RUN/NAME becomes a link to the checkpoint ("best-bleu"), at one stroke. Throws Error{io}.
void link_checkpoint(const std::string& run, const std::string& name, int64_t step);
// Removes all but the `keep` latest and those that a link names; 0 keeps all.
void prune_checkpoints(const std::string& run, int64_t keep);

// Removes the checkpoint of this step, if it is there, unless a link names it.
void remove_unlinked(const std::string& run, int64_t step);

// The mean of the weights in several files, tensor by tensor, added up in double in the order given: of the
// tensors whose names begin with `prefix` ("ema." in trainer.safetensors), named without it. Integer and bool
// tensors must be equal in all. Throws Error{user} naming file and tensor.
std::vector<std::pair<std::string, Tensor>> average_weights(std::span<const std::string> files,
                                                            std::string_view prefix = {});

}  // namespace floe
