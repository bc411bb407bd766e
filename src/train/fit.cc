#include "train/fit.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"
#include "train/checkpoint.h"
#include "train/setup.h"
#include "train/validator.h"

namespace floe {
namespace {

// A resumed run needs the batches that it had, whatever fits now.
bool take_earlier(TrainOptions* options) {
  const std::string path = options->output + "/options.toml";
  if (!options->resume || !latest_checkpoint(options->output) || !file_exists(path)) return false;
  TrainOptions before;
  read_options(read_file(path), path, &before);
  if (before.auto_batch) return false;
  options->batch.max_tokens = before.batch.max_tokens;
  options->auto_batch = false;
  return true;
}

}  // namespace

FittedMemory fit_batch(const ModelConfig& config, const StepSizes& sizes, const KernelTable& kernels,
                       Device& device, const std::function<void(const std::string&)>& note,
                       TrainOptions* options) {
  if (options->auto_batch && take_earlier(options))
    note(fmt::format("batch_tokens: {}, as the run to go on with has", options->batch.max_tokens));
  FittedMemory memory{.available = device.memory_available()};
  if (memory.available == Device::kNoLimit) return memory;
  const bool validates = options->validate_every > 0 && !options->valid_source.empty();
  const size_t validation = validates ? validation_bytes(*options, config, kernels, device) : 0;
  const int64_t parts = options->micro_batches;
  BatchOptions batch = batch_options(*options, config);
  int64_t fitting = 0;
  if (options->auto_batch) {
    fitting = tokens_that_fit(sizes, batch, parts, validation, memory.available);
    batch.max_tokens = std::max(fitting, least_tokens(batch));
  }
  memory.needed = training_memory(sizes, batch, parts, validation);
  const bool fits = options->auto_batch ? fitting > 0 : memory.needed.total() <= memory.available;
  if (!fits) {
    if (!options->auto_batch) fitting = tokens_that_fit(sizes, batch, parts, validation, memory.available);
    fail_user("{}", refusal_of(memory.needed, batch, device, memory.available, fitting));
  }
  if (options->auto_batch) {
    note(fmt::format("batch_tokens: {}, the most for which {} suffice: {} are needed", fitting,
                     rounded_bytes(memory.available), rounded_bytes(memory.needed.total())));
    options->batch.max_tokens = fitting;
    options->auto_batch = false;
  }
  return memory;
}

void reserve_arena(const FittedMemory& memory, const StepSizes& sizes, const BatchOptions& batch,
                   int64_t parts, const Device& device, TrainingEngine* engine) {
  if (memory.available == Device::kNoLimit) return;
  // On a GPU more than the plan: scratch memory too.
  TrainingMemory needed = memory.needed;
  try {
    for (const ProgramEntry& entry : engine->program().entries) {
      const Binding binding = step_binding(entry, needed.shape);
      needed.arena = std::max(needed.arena, engine->session().needs(entry.name, binding).arena);
    }
    engine->session().reserve(needed.arena);
  } catch (const OutOfMemory&) {
    const int64_t fitting = tokens_that_fit(sizes, batch, parts, needed.validation, memory.available);
    fail_user("{}",
              refusal_of(needed, batch, device, memory.available, std::min(fitting, batch.max_tokens - 1)));
  }
}

}  // namespace floe
