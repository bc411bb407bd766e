#include "train/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "nn/transformer.h"
#include "passes/simplify.h"
#include "tensor/dtype.h"
#include "testing/op_case.h"
#include "testing/program_case.h"

namespace floe {
namespace {

ModelConfig tiny() {
  ModelConfig config;
  config.d_model = 16;
  config.d_ff = 32;
  config.heads = config.kv_heads = 2;
  config.encoder_layers = config.decoder_layers = 2;
  config.source_vocabulary = config.target_vocabulary = 23;
  config.max_positions = 16;
  config.pad_id = 0;
  config.start_id = 2;
  config.eos_id = 3;
  return config;
}

// Sentences of random ids; the target is the source read backwards.
BatchTensors reversed_batch(int64_t rows, int64_t length, uint64_t seed, int64_t first_ordinal = 0) {
  BatchTensors batch;
  batch.source = random_tensor(DType::i32, {rows, length}, seed, 19);
  batch.source_lengths = Tensor(DType::i32, {rows});
  batch.target_in = Tensor(DType::i32, {rows, length + 1});
  batch.target_out = Tensor(DType::i32, {rows, length + 1});
  batch.ordinals = Tensor(DType::i32, {rows});
  for (int64_t r = 0; r < rows; ++r) {
    // Row 0 is short: padding is part of every case.
    const int64_t n = r == 0 ? length - 2 : length;
    batch.source_lengths.set(r, static_cast<double>(n));
    batch.ordinals.set(r, static_cast<double>(first_ordinal + r));
    for (int64_t i = 0; i < length; ++i) {
      batch.source.set(r * length + i, i < n ? batch.source.at(r * length + i) + 4 : 0);
    }
    for (int64_t i = 0; i <= length; ++i) {
      const auto token = [&](int64_t k) {
        return k < n ? batch.source.at(r * length + n - 1 - k) : (k == n ? 3.0 : 0.0);
      };
      batch.target_out.set(r * (length + 1) + i, token(i));
      batch.target_in.set(r * (length + 1) + i, i == 0 ? 2.0 : token(i - 1) == 3.0 ? 0.0 : token(i - 1));
    }
  }
  return batch;
}

struct Fixture {
  std::unique_ptr<Device> device;
  State state;
  TrainingEngine engine;
  explicit Fixture(const ModelConfig& config, const TrainingEngineOptions& options, int threads = 2)
      : device(open_test_device(threads)),
        state(device.get()),
        engine(config, options, initial_weights(config, 7), test_kernels(), *device, state) {}
};

TEST(TrainingEngine, LearnsToReverse) {
  ModelConfig config = tiny();
  config.residual_dropout = 0.0;
  Fixture f(config, {});
  double first = 0;
  double last = 0;
  for (int update = 1; update <= 150; ++update) {
    const BatchTensors batch = reversed_batch(32, 5, static_cast<uint64_t>(update));
    const StepOutcome out = f.engine.update({&batch, 1}, 3e-3F, update, 1);
    EXPECT_FALSE(out.skipped);
    EXPECT_EQ(out.tokens, 31 * 6 + 4);
    if (update == 1) first = out.nll / out.tokens;
    last = out.nll / out.tokens;
  }
  EXPECT_NEAR(first, std::log(23.0), 1.0);  // an untrained model knows nothing
  EXPECT_LT(last, 0.75 * first);
}

TEST(TrainingEngine, UsesNoMeaningAsAFallback) {
  Fixture f(tiny(), {});
  for (const ProgramEntry& entry : f.engine.program().entries)
    EXPECT_TRUE(entry.fallbacks.empty()) << entry.name;
}

TEST(TrainingEngine, MicroBatchesEqualOneLargeBatch) {
  TrainingEngineOptions options;
  options.accumulate = true;
  options.optimizer.clip_norm = 1;
  Fixture one(tiny(), options), several(tiny(), options);
  const BatchTensors whole = reversed_batch(12, 6, 5);
  std::vector<BatchTensors> parts;
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 5}, {5, 6}, {6, 12}}) {
    const auto rows = [&](const Tensor& tensor) {
      Shape shape = tensor.shape();
      const int64_t width = tensor.size() / shape[0];
      shape[0] = end - begin;
      Tensor part(tensor.dtype(), shape);
      for (int64_t i = 0; i < part.size(); ++i) part.set(i, tensor.at(begin * width + i));
      return part;
    };
    parts.push_back({rows(whole.source), rows(whole.source_lengths), rows(whole.target_in),
                     rows(whole.target_out), rows(whole.ordinals)});
  }
  for (int update = 1; update <= 3; ++update) {
    const StepOutcome a = one.engine.update({&whole, 1}, 1e-3F, update, 40 + static_cast<uint32_t>(update));
    const StepOutcome b = several.engine.update(parts, 1e-3F, update, 40 + static_cast<uint32_t>(update));
    EXPECT_EQ(a.tokens, b.tokens);
    // Equal up to the order of sums in f32, with the masks of dropout equal bit for bit.
    EXPECT_NEAR(a.loss, b.loss, 1e-6 * a.loss * update);
    EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-5 * a.grad_norm * update);
  }
}

TEST(TrainingEngine, GivesTheSameBitsOnEveryRunAndAnyThreads) {
  Fixture one(tiny(), {}, 1), three(tiny(), {}, 3);
  for (int update = 1; update <= 4; ++update) {
    const BatchTensors batch = reversed_batch(9, 7, static_cast<uint64_t>(update));
    const StepOutcome a = one.engine.update({&batch, 1}, 1e-3F, update, 3);
    const StepOutcome b = three.engine.update({&batch, 1}, 1e-3F, update, 3);
    EXPECT_EQ(a.loss, b.loss);
    EXPECT_EQ(a.grad_norm, b.grad_norm);
  }
  for (const std::string& name : one.state.names()) {
    const Tensor& a = one.state.get(name);
    const Tensor& b = three.state.get(name);
    ASSERT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0) << name;
  }
}

// All states after two updates, carried into another engine, on a device of its own: the rest of the run is
// the same.
TEST(TrainingEngine, GoesOnFromCopiedStatesAsIfNothingHadHappened) {
  std::vector<Precision> precisions = {Precision::f32};
  if (test_device_kind() == DeviceKind::cuda) precisions.push_back(Precision::bf16);
  for (const Precision precision : precisions) {
    TrainingEngineOptions options;
    options.precision = precision;
    Fixture whole(tiny(), options), resumed(tiny(), options);
    const auto run = [&](Fixture& f, int first, int last) {
      std::vector<StepOutcome> outcomes;
      for (int update = first; update <= last; ++update) {
        const BatchTensors batch = reversed_batch(9, 7, static_cast<uint64_t>(update));
        outcomes.push_back(f.engine.update({&batch, 1}, 1e-3F, update, 30 + static_cast<uint32_t>(update)));
      }
      return outcomes;
    };
    run(resumed, 7, 9);  // anything: all of it is overwritten
    run(whole, 1, 2);
    for (const std::string& name : whole.state.names())
      resumed.state.set(name, copy_of(whole.state.get(name)));
    const std::vector<StepOutcome> want = run(whole, 3, 5), got = run(resumed, 3, 5);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(got[i].loss, want[i].loss);
      EXPECT_EQ(got[i].grad_norm, want[i].grad_norm);
    }
    for (const std::string& name : whole.state.names()) {
      const Tensor a = copy_of(whole.state.get(name)), b = copy_of(resumed.state.get(name));
      ASSERT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0) << name;
    }
  }
}

TEST(TrainingEngine, RecomputesTheSameBitsInLessMemory) {
  size_t arena = SIZE_MAX;
  std::map<std::string, Tensor> weights;
  for (const Recompute what : {Recompute::none, Recompute::cheap, Recompute::layers}) {
    TrainingEngineOptions options;
    options.recompute = what;
    ModelConfig config = tiny();
    config.encoder_layers = config.decoder_layers = 4;
    Fixture f(config, options);
    for (int update = 1; update <= 2; ++update) {
      const BatchTensors batch = reversed_batch(32, 12, static_cast<uint64_t>(update));
      f.engine.update({&batch, 1}, 1e-3F, update, 5);
    }
    EXPECT_LE(f.engine.session().arena_bytes(), arena) << name_of(what);
    arena = f.engine.session().arena_bytes();
    for (const std::string& name : f.engine.trainable()) {
      const Tensor& now = f.state.get(name);
      if (what == Recompute::none) {
        weights[name] = copy_of(now);
      } else {
        ASSERT_EQ(std::memcmp(weights[name].data(), now.data(), now.bytes()), 0)
            << name << " " << name_of(what);
      }
    }
  }
}

class SkippedStep : public testing::TestWithParam<double> {};
INSTANTIATE_TEST_SUITE_P(EmaDecay, SkippedStep, testing::Values(0, 0.9));

TEST_P(SkippedStep, ChangesNoState) {
  TrainingEngineOptions options;
  options.optimizer.clip_norm = 1;
  options.optimizer.ema_decay = GetParam();
  Fixture f(tiny(), options);
  const BatchTensors batch = reversed_batch(4, 6, 1);
  f.engine.update({&batch, 1}, 1e-3F, 1, 1);
  const float kept = f.state.get("encoder.0.feed_forward.up.weight").as<float>()[3];
  change_state(f.state, "encoder.0.feed_forward.up.weight",
               [](Tensor& t) { t.set(3, std::numeric_limits<float>::infinity()); });
  std::map<std::string, Tensor> before;
  for (const std::string& name : f.state.names()) before[name] = copy_of(f.state.get(name));
  const StepOutcome out = f.engine.update({&batch, 1}, 1e-3F, 2, 2);
  EXPECT_TRUE(out.skipped) << out.loss << " " << out.grad_norm;
  for (const auto& [name, tensor] : before) {
    ASSERT_EQ(std::memcmp(tensor.data(), f.state.get(name).data(), tensor.bytes()), 0) << name;
  }
  change_state(f.state, "encoder.0.feed_forward.up.weight", [&](Tensor& t) { t.as<float>()[3] = kept; });
  EXPECT_FALSE(f.engine.update({&batch, 1}, 1e-3F, 2, 2).skipped);
}

TEST(TrainingEngine, OneStepUpdatesAllStatesWhereTheyLie) {
  TrainingEngineOptions options;
  options.accumulate = true;
  if (test_device_kind() == DeviceKind::cuda) options.precision = Precision::bf16;
  Fixture f(tiny(), options);
  for (const ProgramEntry& entry : f.engine.program().entries) {
    const auto steps_of = [&](std::string_view op) {
      return std::ranges::count_if(entry.steps, [&](const StepSpec& step) { return step.op == op; });
    };
    // apply ends with copies of the zeros that the sums of gradients begin with.
    if (entry.name != "apply") {
      EXPECT_EQ(steps_of("copy"), 0) << entry.name;
    }
    EXPECT_EQ(steps_of("adamw"), entry.name == "train" || entry.name == "apply" ? 1 : 0) << entry.name;
  }
}

TrainingEngineOptions in_bf16() {
  TrainingEngineOptions options;
  options.precision = Precision::bf16;
  options.optimizer.clip_norm = 1;
  options.optimizer.weight_decay = 0.01;
  return options;
}

void expect_copies(const State& state) {
  int copies = 0;
  for (const std::string& name : state.names()) {
    if (!name.starts_with("bf16.")) continue;
    ++copies;
    const Tensor &copy = state.get(name), &weight = state.get(name.substr(5));
    ASSERT_EQ(copy.shape(), weight.shape()) << name;
    for (int64_t i = 0; i < copy.size(); ++i)
      ASSERT_EQ(copy.as<uint16_t>()[i], to_bf16(weight.as<float>()[i])) << name << " " << i;
  }
  EXPECT_GE(copies, 20);
}

TEST(TrainingEngine, Bf16CopiesFollowTheWeights) {
  FLOE_NEEDS_CUDA();
  TrainingEngineOptions options = in_bf16();
  options.accumulate = true;
  options.optimizer.ema_decay = 0.9;
  Fixture f(tiny(), options);
  const BatchTensors batch = reversed_batch(4, 6, 1);
  for (int update = 1; update <= 3; ++update) f.engine.update({&batch, 1}, 1e-2F, update, 1);
  expect_copies(f.state);
  const std::vector<BatchTensors> parts = [] {
    std::vector<BatchTensors> list;
    for (uint64_t k = 0; k < 2; ++k) list.push_back(reversed_batch(2, 6, k, static_cast<int64_t>(2 * k)));
    return list;
  }();
  f.engine.update(parts, 1e-2F, 4, 1);
  expect_copies(f.state);
  // Set from outside, then a step that leaves it as it is.
  const std::string name = "encoder.0.feed_forward.up.weight";
  const float kept = f.state.get(name).as<float>()[3];
  change_state(f.state, name, [](Tensor& t) { t.set(3, std::numeric_limits<float>::infinity()); });
  EXPECT_TRUE(f.engine.update({&batch, 1}, 1e-2F, 5, 1).skipped);
  EXPECT_EQ(f.state.get("bf16." + name).at(3), std::numeric_limits<double>::infinity());
  expect_copies(f.state);
  change_state(f.state, name, [&](Tensor& t) { t.as<float>()[3] = kept; });
  EXPECT_FALSE(f.engine.update({&batch, 1}, 1e-2F, 5, 1).skipped);
  expect_copies(f.state);
}

TEST(TrainingEngine, Bf16CopiesChangeNoBit) {
  FLOE_NEEDS_CUDA();
  const ModelConfig config = tiny();
  const TrainingEngineOptions options = in_bf16();
  Fixture f(config, options);
  // The same step with a cast of each weight where it is read.
  const Graph loss = mixed_precision(training_graph(config, {options.label_smoothing, true}));
  const auto program = test_compile({widen_products(simplify(train_step(loss, options.optimizer)))});
  State state(f.device.get());
  for (const std::string& name : f.state.names()) {
    if (!name.starts_with("bf16.")) state.set(name, copy_of(f.state.get(name)));
  }
  Session session(program, test_kernels(), *f.device, state);
  const Tensor rate = Tensor::scalar(1e-2F);
  for (int update = 1; update <= 3; ++update) {
    const BatchTensors batch = reversed_batch(9, 7, static_cast<uint64_t>(update));
    const StepOutcome out = f.engine.update({&batch, 1}, 1e-2F, update, 5);
    const Tensor seed = Tensor::from_ints({}, {5}), step = Tensor::from_ints({}, {update});
    const std::vector<Feed> feeds = {{"source", view_of(batch.source)},
                                     {"source_lengths", view_of(batch.source_lengths)},
                                     {"target_in", view_of(batch.target_in)},
                                     {"target_out", view_of(batch.target_out)},
                                     {"seed", view_of(seed)},
                                     {"ordinals", view_of(batch.ordinals)},
                                     {"lr", view_of(rate)},
                                     {"step", view_of(step)}};
    session.run("train", feeds);
    EXPECT_EQ(out.loss, static_cast<double>(session.output("loss").as<float>()[0]));
  }
  for (const std::string& name : state.names()) {
    const Tensor &a = state.get(name), &b = f.state.get(name);
    ASSERT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0) << name;
  }
}

TEST(TrainingEngine, AveragedWeightsFollow) {
  TrainingEngineOptions options;
  options.optimizer.ema_decay = 0.9;
  Fixture f(tiny(), options);
  const std::string name = "decoder.1.feed_forward.down.weight";
  double want = f.state.get(name).at(5);
  for (int update = 1; update <= 5; ++update) {
    const BatchTensors batch = reversed_batch(4, 6, static_cast<uint64_t>(update));
    f.engine.update({&batch, 1}, 1e-2F, update, 1);
    want = 0.9 * want + 0.1 * f.state.get(name).at(5);
  }
  EXPECT_NEAR(f.state.get("ema." + name).at(5), want, 1e-6);
}

}  // namespace
}  // namespace floe
