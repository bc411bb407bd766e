#include "train/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "testing/program_case.h"
#include "testing/test_device.h"
#include "train/engine.h"

namespace floe {
namespace {

using testing::HasSubstr;

ModelConfig tiny() {
  ModelConfig config;
  config.d_model = 16;
  config.d_ff = 32;
  config.heads = config.kv_heads = 2;
  config.encoder_layers = config.decoder_layers = 1;
  config.source_vocabulary = config.target_vocabulary = 23;
  config.max_positions = 64;
  config.start_id = 2;
  config.eos_id = 3;
  return config;
}

BatchTensors batch_of(const BatchShape& shape) {
  BatchTensors batch;
  batch.source = random_tensor(DType::i32, {shape.rows, shape.source}, 1, 19);
  batch.target_in = random_tensor(DType::i32, {shape.rows, shape.target}, 2, 19);
  batch.target_out = random_tensor(DType::i32, {shape.rows, shape.target}, 3, 19);
  batch.source_lengths = Tensor(DType::i32, {shape.rows});
  batch.ordinals = Tensor(DType::i32, {shape.rows});
  for (int64_t r = 0; r < shape.rows; ++r) {
    batch.source_lengths.set(r, static_cast<double>(shape.source));
    batch.ordinals.set(r, static_cast<double>(r));
  }
  return batch;
}

TEST(LargestShapes, AreThoseOfTheClosedListWhereTheWidthsAreFew) {
  const BatchOptions batch{.max_tokens = 1000, .max_length = 60, .length_multiple = 16};
  EXPECT_EQ(largest_shapes(batch),
            (std::vector<BatchShape>{{62, 16, 16}, {31, 32, 32}, {20, 48, 48}, {15, 64, 64}}));
  EXPECT_EQ(largest_shapes(batch, 4),
            (std::vector<BatchShape>{{16, 16, 16}, {8, 32, 32}, {5, 48, 48}, {4, 64, 64}}));
  EXPECT_EQ(least_tokens(batch), 64);
}

TEST(LargestShapes, OfManyWidthsHoldEveryExtreme) {
  for (const int64_t tokens : {512, 1000, 4096, 4999}) {
    const BatchOptions batch{
        .max_tokens = tokens, .max_sentences = 300, .max_length = 500, .length_multiple = 1};
    const std::vector<BatchShape> some = largest_shapes(batch);
    EXPECT_LE(some.size(), 4u);
    const auto most = [&](auto size) {
      int64_t most = 0;
      for (const BatchShape& s : some) most = std::max<int64_t>(most, size(s.rows, s.source));
      return most;
    };
    for (int64_t width = 1; width <= 500; ++width) {
      const int64_t rows = std::min<int64_t>(tokens / width, 300);
      const auto by_rows = [](int64_t r, int64_t) { return r; };
      const auto by_tokens = [](int64_t r, int64_t w) { return r * w; };
      const auto by_pairs = [](int64_t r, int64_t w) { return r * w * w; };
      ASSERT_LE(by_rows(rows, width), most(by_rows)) << width;
      ASSERT_LE(by_tokens(rows, width), most(by_tokens)) << width;
      ASSERT_LE(by_pairs(rows, width), most(by_pairs)) << width;
    }
  }
}

TEST(TrainingMemory, IsWhatTheStepThenTakes) {
  for (const int64_t parts : {1, 3}) {
    TrainingEngineOptions options;
    options.accumulate = parts > 1;
    options.optimizer.ema_decay = 0.5;
    const BatchOptions batch{.max_tokens = 600, .max_length = 48, .length_multiple = 8};
    const auto device = open_test_device(1);
    TrainingProgram program = compile_training(tiny(), options, test_kernels(), device->kind());
    const TrainingMemory memory =
        training_memory(StepSizes(program.program, test_kernels(), *device), batch, parts, 0);
    State state(device.get());
    TrainingEngine engine(tiny(), options, std::move(program), initial_weights(tiny(), 7), test_kernels(),
                          *device, state);
    EXPECT_EQ(memory.states, state.bytes());
    EXPECT_EQ(memory.total(), memory.states + memory.arena);
    for (const BatchShape& shape : largest_shapes(batch, parts)) {
      std::vector<BatchTensors> micro;
      for (int64_t part = 0; part < parts; ++part) micro.push_back(batch_of(shape));
      engine.update(micro, 1e-3F, 1, 1);
    }
    if (device->on_host()) {
      EXPECT_EQ(memory.arena, engine.session().arena_bytes());
    } else {
      EXPECT_LE(memory.arena, engine.session().arena_bytes());  // which has room for feeds and scratch too
    }
  }
}

TEST(TrainingMemory, FindsTheMostTokensThatFit) {
  const auto device = open_test_device(1);
  const StepSizes sizes(compile_training(tiny(), {}, test_kernels(), device->kind()).program, test_kernels(),
                        *device);
  BatchOptions batch{.max_length = 48, .length_multiple = 8};
  const auto total = [&](int64_t tokens) {
    batch.max_tokens = tokens;
    return training_memory(sizes, batch, 1, 1000).total();
  };
  for (const size_t available : {total(48) * 2, total(5000), total(100'000)}) {
    const int64_t tokens = tokens_that_fit(sizes, batch, 1, 1000, available);
    ASSERT_GE(tokens, 48);
    EXPECT_LE(total(tokens), available - available / 16);
    EXPECT_GT(total(tokens + tokens / 32 + 50), available - available / 16);
  }
  EXPECT_EQ(tokens_that_fit(sizes, batch, 1, 1000, total(48)), 0);  // nothing left for scratch
}

TEST(TrainingMemory, IsRefusedWithWhatItNeedsWhatThereIsAndWhatFits) {
  const auto device = open_test_device(1);
  device->set_memory_limit(size_t{3} << 20);
  const TrainingMemory needed{
      .states = size_t{1} << 20, .arena = size_t{5} << 19, .validation = 1024, .shape = {12, 40, 40}};
  const BatchOptions batch{.max_tokens = 500, .max_length = 33};
  const std::string common =
      "option batch_tokens: 500 needs 3.50 MiB: 1.00 MiB of weights and moments, 2.50 MiB for 12 sentences "
      "of 40 "
      "tokens, 1.00 KiB for validation; " +
      device->name() + " has 2.00 MiB (memory_limit 3MiB); ";
  EXPECT_EQ(refusal_of(needed, batch, *device, size_t{2} << 20, 260), common + "260 would fit");
  EXPECT_EQ(refusal_of(needed, batch, *device, size_t{2} << 20, 0),
            common + "not even one sentence of max_length 33 fits");
}

}  // namespace
}  // namespace floe
