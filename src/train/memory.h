// How much memory training will take, known before the first update: from the compiled step's memory plan at
// the largest shapes that its batches can have. Nothing is allocated to find out.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "device/device.h"
#include "runtime/program.h"
#include "train/batches.h"

namespace floe {

struct TrainingMemory {
  size_t states = 0;      // weights, moments and what else the entries keep between runs
  size_t arena = 0;       // of the largest shape, without the kernels' scratch memory
  size_t validation = 0;  // what validation takes beside
  BatchShape shape;       // that largest one; of a micro-batch
  size_t total() const { return states + arena + validation; }
};

// `parts` are the micro-batches of a batch.
TrainingMemory training_memory(const Program& program, const BatchOptions& batch, int64_t parts,
                               size_t validation);

// The dims of the step's entries in a micro-batch of this shape.
Binding step_binding(const ProgramEntry& entry, const BatchShape& shape);

// The most max_tokens whose training_memory() fits, found by bisection; 0 when not even one sentence of
// max_length does. A 16th of `available` is left for scratch memory and for what nobody counts.
int64_t tokens_that_fit(const Program& program, const BatchOptions& batch, int64_t parts, size_t validation,
                        size_t available);

// The refusal of a batch that does not fit: what it needs, what there is, and which option would fit.
std::string refusal_of(const TrainingMemory& needed, const BatchOptions& batch, const Device& device,
                       size_t available, int64_t fitting_tokens);

}  // namespace floe
