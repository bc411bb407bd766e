// How much memory training will take, known before the first update: from the compiled step's memory plan at
// the largest shapes that its batches can have. Nothing of that size is allocated to find out.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "kernel/kernel.h"
#include "runtime/session.h"
#include "runtime/state.h"
#include "train/batches.h"

namespace floe {

// Bytes that the entries of a program take at a shape, while there is no state yet. On the CPU what a session
// would bind them to, the kernels' scratch memory included; on a GPU the plan alone, since binding a product
// there measures it.
class StepSizes {
 public:
  // Kernels and device must outlive it.
  StepSizes(std::shared_ptr<const Program> program, const KernelTable& kernels, Device& device);

  Session::Needs of(const ProgramEntry& entry, const BatchShape& shape) const;
  // The most that any entry takes at any of the shapes, and where.
  struct Largest {
    Session::Needs needs;
    BatchShape shape;
  };
  Largest largest(const std::vector<BatchShape>& shapes) const;
  // Of the states that the entries name.
  size_t states() const;

 private:
  std::shared_ptr<const Program> program_;
  State none_;
  std::unique_ptr<Session> session_;  // on the CPU
};

// The dims of a training step's or a loss's entry at a shape.
Binding step_binding(const ProgramEntry& entry, const BatchShape& shape);

struct TrainingMemory {
  size_t states = 0;      // weights, moments and what else the entries keep between runs
  size_t arena = 0;       // of the largest shape
  size_t validation = 0;  // what validation takes beside
  BatchShape shape;       // that largest one; of a micro-batch
  size_t total() const { return states + arena + validation; }
};

// `parts` are the micro-batches of a batch.
TrainingMemory training_memory(const StepSizes& sizes, const BatchOptions& batch, int64_t parts,
                               size_t validation);

// The most max_tokens whose training_memory() fits, found by bisection; 0 when not even one sentence of
// max_length does. A 16th of `available` is left for what is not counted: on a GPU scratch memory, code
// and recordings.
int64_t tokens_that_fit(const StepSizes& sizes, const BatchOptions& batch, int64_t parts, size_t validation,
                        size_t available);

// The refusal of a batch that does not fit: what it needs, what there is, and which option would fit.
std::string refusal_of(const TrainingMemory& needed, const BatchOptions& batch, const Device& device,
                       size_t available, int64_t fitting_tokens);

}  // namespace floe
