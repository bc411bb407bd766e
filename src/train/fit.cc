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

FittedMemory fit_batch(const ModelConfig& config, const Program& program, const KernelTable& kernels,
                       const Device& device, const std::function<void(const std::string&)>& note,
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
    fitting = tokens_that_fit(program, batch, parts, validation, memory.available);
    batch.max_tokens = std::max(fitting, least_tokens(batch));
  }
  memory.needed = training_memory(program, batch, parts, validation);
  const bool fits = options->auto_batch ? fitting > 0 : memory.needed.total() <= memory.available;
  if (!fits) {
    if (!options->auto_batch) fitting = tokens_that_fit(program, batch, parts, validation, memory.available);
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

void reserve_arena(const FittedMemory& memory, const ModelConfig& config, const TrainOptions& options,
                   const Device& device, TrainingEngine* engine) {
  if (memory.available == Device::kNoLimit) return;
  const BatchOptions batch = batch_options(options, config);
  const int64_t parts = options.micro_batches;
  // Scratch memory differs by shape. On a GPU a shape's products are measured when they are bound, which only
  // the one shape is worth.
  std::vector<BatchShape> shapes = {memory.needed.shape};
  if (device.on_host()) shapes = largest_shapes(batch, parts);
  TrainingMemory needed = memory.needed;
  try {
    for (const BatchShape& shape : shapes) {
      for (const ProgramEntry& entry : engine->program().entries) {
        const size_t arena = engine->session().needs(entry.name, step_binding(entry, shape)).arena;
        needed.arena = std::max(needed.arena, arena);
      }
    }
    engine->session().reserve(needed.arena);
  } catch (const OutOfMemory&) {
    const int64_t fitting =
        tokens_that_fit(engine->program(), batch, parts, needed.validation, memory.available);
    fail_user("{}",
              refusal_of(needed, batch, device, memory.available, std::min(fitting, batch.max_tokens - 1)));
  }
}

}  // namespace floe
