// Going on from a checkpoint: whether it belongs to the run, and its tensors back in their places.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/state.h"
#include "train/checkpoint.h"
#include "train/options.h"

namespace floe {

// Of the options that a resumed run must share; what TrainerState::options_hash holds.
std::string options_hash(const TrainOptions& options);

// Throws Error{user} naming the checkpoint: options that change the numbers differ (naming them, as far as
// RUN/options.toml tells), so does the schedule and override_schedule is off, or the corpus is another.
void check_same_run(const TrainOptions& options, const Checkpoint& checkpoint, uint64_t batches_fingerprint);

// The states of an update for the given weights: the weights themselves, Adam's moments, averaged weights; as
// far as `state` has them.
std::vector<std::string> checkpointed(const State& state, const std::string& weight);

// Into the states that are there. Throws Error{user} naming file and tensor: one that has no place, is of
// another type or shape, or is missing.
void load_tensors(const Checkpoint& checkpoint, const std::vector<std::string>& weights, State* state);

}  // namespace floe
