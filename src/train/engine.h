// The training step of a model: the compiled graphs, the states they need, and one call for an update.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compile/compile.h"
#include "device/device.h"
#include "nn/config.h"
#include "nn/weights.h"
#include "passes/mixed_precision.h"
#include "passes/optimizer.h"
#include "runtime/session.h"
#include "runtime/state.h"
#include "train/batch_tensors.h"

namespace floe {

// What the backward part computes again instead of keeping it: nothing; element-by-element values and norms;
// or all of every layer but what flows into it. The values are the same bit for bit.
enum class Recompute { none, cheap, layers };
std::string_view name_of(Recompute value);
void parse(std::string_view text, Recompute* value);  // throws Error{user} listing the names

struct TrainingEngineOptions {
  double label_smoothing = 0.1;
  OptimizerOptions optimizer;
  bool accumulate = false;  // updates of several micro-batches; needs gradient states
  Recompute recompute = Recompute::none;
  Precision precision = Precision::f32;  // bf16: of all but weights, which stay f32 and get a bf16 copy
};

struct StepOutcome {
  double loss = 0;       // smoothed, summed over target tokens
  double nll = 0;        // plain, summed
  double tokens = 0;     // target tokens
  double grad_norm = 0;  // of the mean gradient, before clipping
  bool skipped = false;  // the norm was not finite: nothing changed
};

// The compiled graphs of a step. How much memory they take is known from them before there is any state.
struct TrainingProgram {
  std::shared_ptr<const Program> program;  // entries "train" and, to accumulate, "accumulate" and "apply"
  std::vector<std::string> trainable;      // weights
  std::vector<std::string> copied;         // those that are read in bf16 (passes/weight_copies.h)
};
TrainingProgram compile_training(const ModelConfig& config, const TrainingEngineOptions& options,
                                 const KernelTable& kernels, DeviceKind device);

class TrainingEngine {
 public:
  // Moves `weights` into `state` and adds what the optimizer needs, zeroed (averaged weights begin as
  // copies). Kernels, device and state must outlive the engine.
  TrainingEngine(const ModelConfig& config, const TrainingEngineOptions& options, Weights weights,
                 const KernelTable& kernels, Device& device, State& state);
  // With what compile_training() gave for the same config, options and kind of device.
  TrainingEngine(const ModelConfig& config, const TrainingEngineOptions& options, TrainingProgram program,
                 Weights weights, const KernelTable& kernels, Device& device, State& state);

  // One update. `seed` keys this update's dropout masks; `update` counts from 1. With several micro-batches
  // the result is that of one large batch. Throws bug when there are several and options.accumulate is off.
  StepOutcome update(std::span<const BatchTensors> micro_batches, float learning_rate, int64_t update,
                     uint32_t seed);

  // The two halves of an update of one micro-batch: on a GPU the host may go on in between. A ticket is good
  // until two more launches, or one after weights were set from outside (bf16 copies of them are made then).
  uint64_t launch(const BatchTensors& batch, float learning_rate, int64_t update, uint32_t seed);
  StepOutcome outcome(uint64_t ticket);

  const std::vector<std::string>& trainable() const { return names_.trainable; }
  const Program& program() const { return *program_; }
  Session& session() { return session_; }

 private:
  struct Names {
    std::vector<std::string> trainable, copied;
  };
  // Brings the bf16 copies up to date where the state's tensors were set since: at the start, by a resumed
  // run, by whoever changes weights.
  void copy_changed_weights();
  std::vector<Feed> feeds(const BatchTensors& batch, const Tensor& seed) const;
  StepOutcome sums() const;

  ModelConfig config_;
  TrainingEngineOptions options_;
  Names names_;
  uint64_t copied_generation_ = 0;  // of the state, when the copies were made
  std::shared_ptr<const Program> program_;
  State& state_;
  Session session_;
};

}  // namespace floe
