// A run's batches and the memory of its device: decided before any text is read for training.
#pragma once
#include <functional>
#include <string>

#include "device/device.h"
#include "kernel/kernel.h"
#include "nn/config.h"
#include "train/engine.h"
#include "train/memory.h"
#include "train/options.h"

namespace floe {

// What there was when the batches were decided, and what they need of it.
struct FittedMemory {
  size_t available = Device::kNoLimit;
  TrainingMemory needed;  // nothing where there is no bound
};

// Makes options->batch.max_tokens a number where it is found (auto_batch): that of the run in options->output
// which will be resumed, else the most that fits; `note` hears of it. Throws Error{user} where the batches do
// not fit, with what they need, what there is and which batch_tokens would fit.
FittedMemory fit_batch(const ModelConfig& config, const StepSizes& sizes, const KernelTable& kernels,
                       Device& device, const std::function<void(const std::string&)>& note,
                       TrainOptions* options);

// Gives the engine's session the one arena that every batch fits in, so that what is there at the start is
// there to the end. Throws as fit_batch() does.
void reserve_arena(const FittedMemory& memory, const StepSizes& sizes, const BatchOptions& batch,
                   int64_t parts, const Device& device, TrainingEngine* engine);

}  // namespace floe
