#include "train/engine.h"

#include "base/error.h"
#include "nn/transformer.h"
#include "passes/recompute.h"
#include "passes/simplify.h"
#include "passes/weight_copies.h"

namespace floe {
namespace {

Tensor scalar_i32(int64_t value) { return Tensor::from_ints({}, {static_cast<int32_t>(value)}); }

}  // namespace

std::string_view name_of(Recompute value) {
  return value == Recompute::none ? "none" : value == Recompute::cheap ? "cheap" : "layers";
}

void parse(std::string_view text, Recompute* value) {
  for (const Recompute each : {Recompute::none, Recompute::cheap, Recompute::layers}) {
    if (text == name_of(each)) {
      *value = each;
      return;
    }
  }
  fail_user("'{}' is none of none, cheap, layers", text);
}

TrainingProgram compile_training(const ModelConfig& config, const TrainingEngineOptions& options,
                                 const KernelTable& kernels, DeviceKind device) {
  const Graph exact = training_graph(config, {options.label_smoothing, true});
  const Graph loss = options.precision == Precision::bf16 ? mixed_precision(exact) : exact;
  TrainingProgram training{
      .program = nullptr, .trainable = trainable_states(loss), .copied = copied_weights(loss)};
  const auto lighter = [&](Graph graph) {
    if (options.recompute == Recompute::none) return graph;
    RecomputeOptions what;
    if (options.recompute == Recompute::layers) {
      for (int64_t i = 0; i < config.encoder_layers; ++i) what.layers.push_back(fmt::format("encoder.{}", i));
      for (int64_t i = 0; i < config.decoder_layers; ++i) what.layers.push_back(fmt::format("decoder.{}", i));
    }
    return recompute(graph, what);
  };
  const auto copying = [&](Graph step) {
    return training.copied.empty() ? std::move(step) : with_weight_copies(step, training.copied);
  };
  const auto finished = [&](Graph step) {
    step = copying(std::move(step));
    return lighter(options.precision == Precision::bf16 ? widen_products(simplify(step)) : std::move(step));
  };
  std::vector<Graph> graphs = {finished(train_step(loss, options.optimizer))};
  if (options.accumulate) {
    graphs.push_back(finished(accumulate_step(loss)));
    graphs.push_back(copying(apply_step(loss, options.optimizer)));
  }
  if (!training.copied.empty()) graphs.push_back(copy_step(loss, training.copied));
  training.program = compile(graphs, kernels, {.device = device});
  return training;
}

TrainingEngine::TrainingEngine(const ModelConfig& config, const TrainingEngineOptions& options,
                               Weights weights, const KernelTable& kernels, Device& device, State& state)
    : TrainingEngine(config, options, compile_training(config, options, kernels, device.kind()),
                     std::move(weights), kernels, device, state) {}

TrainingEngine::TrainingEngine(const ModelConfig& config, const TrainingEngineOptions& options,
                               TrainingProgram program, Weights weights, const KernelTable& kernels,
                               Device& device, State& state)
    : config_(config),
      options_(options),
      names_{std::move(program.trainable), std::move(program.copied)},
      program_(std::move(program.program)),
      state_(state),
      session_(program_, kernels, device, state) {
  for (auto& [name, tensor] : weights) state.set(name, std::move(tensor));
  for (const std::string& name : names_.trainable) {
    const Shape shape = state.view(name).shape();
    for (const char* moment : {"adam.m.", "adam.v."}) state.set_zero(moment + name, DType::f32, shape);
    if (options.optimizer.ema_decay > 0) state.set("ema." + name, copy_of(state.get(name)));
    if (options.accumulate) state.set_zero("grad." + name, DType::f32, shape);
  }
  if (options.accumulate) state.set("grad.tokens", Tensor(DType::f32, {}));
  for (const std::string& name : names_.copied)
    state.set_zero("bf16." + name, DType::bf16, state.view(name).shape());
}

void TrainingEngine::copy_changed_weights() {
  if (names_.copied.empty() || state_.generation() == copied_generation_) return;
  session_.run("copy_weights", {});
  copied_generation_ = state_.generation();
}

// `seed` must outlive the list.
std::vector<Feed> TrainingEngine::feeds(const BatchTensors& batch, const Tensor& seed) const {
  std::vector<Feed> list;
  if (config_.has_encoder()) {
    list.push_back({"source", view_of(batch.source)});
    list.push_back({"source_lengths", view_of(batch.source_lengths)});
  }
  list.push_back({"target_in", view_of(batch.target_in)});
  list.push_back({"target_out", view_of(batch.target_out)});
  if (config_.has_dropout()) {
    list.push_back({"seed", view_of(seed)});
    list.push_back({"ordinals", view_of(batch.ordinals)});
  }
  return list;
}

StepOutcome TrainingEngine::sums() const {
  const auto value = [&](const char* name) {
    return static_cast<double>(session_.output(name).as<float>()[0]);
  };
  return {value("loss"), value("nll"), value("tokens")};
}

uint64_t TrainingEngine::launch(const BatchTensors& batch, float learning_rate, int64_t update,
                                uint32_t seed) {
  copy_changed_weights();
  const Tensor lr = Tensor::scalar(learning_rate);
  const Tensor step = scalar_i32(update);
  const Tensor seed_value = scalar_i32(static_cast<int32_t>(seed));
  std::vector<Feed> list = feeds(batch, seed_value);
  list.push_back({"lr", view_of(lr)});
  list.push_back({"step", view_of(step)});
  return session_.launch("train", list);
}

StepOutcome TrainingEngine::outcome(uint64_t ticket) {
  session_.results(ticket);
  StepOutcome out = sums();
  out.grad_norm = static_cast<double>(session_.output("grad_norm").as<float>()[0]);
  out.skipped = session_.output("skipped").as<float>()[0] != 0;
  return out;
}

StepOutcome TrainingEngine::update(std::span<const BatchTensors> micro_batches, float learning_rate,
                                   int64_t update, uint32_t seed) {
  FLOE_CHECK(micro_batches.size() == 1 || options_.accumulate, "{} micro-batches without accumulation",
             micro_batches.size());
  if (micro_batches.size() == 1) return outcome(launch(micro_batches[0], learning_rate, update, seed));
  copy_changed_weights();
  const Tensor seed_value = scalar_i32(static_cast<int32_t>(seed));
  StepOutcome sum;
  for (const BatchTensors& batch : micro_batches) {
    session_.run("accumulate", feeds(batch, seed_value));
    const StepOutcome part = sums();
    sum.loss += part.loss;
    sum.nll += part.nll;
    sum.tokens += part.tokens;
  }
  const Tensor lr = Tensor::scalar(learning_rate);
  const Tensor step = scalar_i32(update);
  const std::vector<Feed> list = {{"lr", view_of(lr)}, {"step", view_of(step)}};
  session_.run("apply", list);
  sum.grad_norm = static_cast<double>(session_.output("grad_norm").as<float>()[0]);
  sum.skipped = session_.output("skipped").as<float>()[0] != 0;
  return sum;
}

}  // namespace floe
