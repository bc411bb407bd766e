// A training step with every kernel timed, and the device's ceilings; on a GPU the recorded marks.
#include <gtest/gtest.h>

#include <chrono>

#include "runtime/profile_report.h"
#include "testing/program_case.h"
#include "testing/test_device.h"
#include "train/engine.h"

namespace floe {
namespace {

ModelConfig model() {
  ModelConfig config;
  config.d_model = 16;
  config.d_ff = 32;
  config.heads = config.kv_heads = 2;
  config.encoder_layers = config.decoder_layers = 2;
  config.source_vocabulary = config.target_vocabulary = 40;
  config.residual_dropout = 0.1;
  config.max_positions = 32;
  config.pad_id = 0;
  config.start_id = 2;
  config.eos_id = 3;
  return config;
}

constexpr int64_t kRows = 3, kSource = 18, kTarget = 20;

BatchTensors random_batch() {
  BatchTensors batch;
  batch.source = random_tensor(DType::i32, {kRows, kSource}, 1, 40);
  batch.source_lengths = Tensor::from_ints({kRows}, {18, 18, 18});
  batch.target_in = random_tensor(DType::i32, {kRows, kTarget}, 2, 40);
  batch.target_out = random_tensor(DType::i32, {kRows, kTarget}, 3, 40);
  batch.ordinals = Tensor::from_ints({kRows}, {0, 1, 2});
  return batch;
}

struct Training {
  std::unique_ptr<Device> device = open_test_device();
  State state{device.get()};
  TrainingEngine engine{model(), {}, initial_weights(model(), 7), test_kernels(), *device, state};
  BatchTensors batch = random_batch();
  int64_t updates = 0;
  double update() {
    ++updates;
    return engine.outcome(engine.launch(batch, 1e-3F, updates, static_cast<uint32_t>(updates))).loss;
  }
};

TEST(Profile, ChangesNoResult) {
  Training plain, profiled;
  for (int i = 0; i < 8; ++i) {
    profiled.engine.session().set_profile(i >= 1 && i < 5);  // eager, recorded, replayed, and off again
    EXPECT_EQ(profiled.update(), plain.update()) << i;
  }
}

TEST(Profile, TimesEveryStepOfEveryRun) {
  Training run;
  run.update();
  for (const StepTime& time : run.engine.session().profile()) EXPECT_EQ(time.calls, 0) << time.op;
  run.engine.session().set_profile(true);
  constexpr int kRuns = 4;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kRuns; ++i) run.update();
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  double seconds = 0;
  int64_t calls = 0;
  for (const StepTime& time : run.engine.session().profile()) {
    EXPECT_EQ(time.calls % kRuns, 0) << time.op;
    EXPECT_GE(time.seconds, 0) << time.op;
    EXPECT_GT(time.bytes, 0) << time.op;
    EXPECT_NE(time.kernel, "") << time.op;
    if (time.op == "matmul") {
      EXPECT_NE(time.where, "");
      EXPECT_TRUE(time.result.starts_with("f32[")) << time.result;
    }
    seconds += time.seconds;
    calls += time.calls;
  }
  EXPECT_EQ(calls, kRuns * static_cast<int64_t>(run.engine.program().entry("train").steps.size()));
  EXPECT_GT(seconds, 0);
  EXPECT_LE(seconds, wall);  // the steps lie one behind the other, inside the runs
  run.engine.session().set_profile(false);
  run.update();
  for (const StepTime& time : run.engine.session().profile()) EXPECT_EQ(time.calls % kRuns, 0) << time.op;
  run.engine.session().clear_profile();
  for (const StepTime& time : run.engine.session().profile()) EXPECT_EQ(time.calls, 0) << time.op;
}

TEST(Profile, CountsTheArithmeticOfATrainingStep) {
  Training run;
  run.engine.session().set_profile(true);
  run.update();
  double products = 0, classifier = 0;
  for (const StepTime& time : run.engine.session().profile()) {
    if (time.op == "matmul") products += time.flops;
    if (time.op == "linear_cross_entropy_grad") classifier += time.flops;
  }
  // Weights per token: attention 4 d^2, feed-forward 2 d d_ff; the decoder's second attention reads keys and
  // values of the source. Forward once, backward twice.
  const double d = 16, ff = 32, source = kRows * kSource, target = kRows * kTarget;
  const double encoder = source * (4 * d * d + 2 * d * ff);
  const double decoder = target * (4 * d * d + 2 * d * d + 2 * d * ff) + source * 2 * d * d;
  const double want = 3 * 2 * 2 * (encoder + decoder);  // a multiply-add is two, two layers
  EXPECT_GE(products, want);
  // Beside 2 k operations an element may have a bias and an activation, and no k is below 16; the gradient of
  // an activation that joined its product may compute that product again.
  const double again = 2 * 2 * (source + target) * d * ff;
  EXPECT_LE(products, (want + again) * (1 + 2.0 / 32));
  const double logits = target * 40;
  EXPECT_GE(classifier, logits * (6 * d + 7));
  EXPECT_LE(classifier, logits * (6 * d + 9));
}

TEST(Profile, HasCeilingsThatAreMeasured) {
  const std::unique_ptr<Device> device = open_test_device();
  const Ceilings ceilings = measure_ceilings(
      *device, test_kernels(), {.copy_bytes = size_t{1} << 20, .f32_side = 128, .bf16_side = 128});
  EXPECT_EQ(ceilings.device, device->name());
  EXPECT_GT(ceilings.bytes_per_second, 0);
  EXPECT_GT(ceilings.f32_flops, 0);
  EXPECT_EQ(ceilings.bf16_flops > 0, test_device_kind() == DeviceKind::cuda);
  EXPECT_GE(ceilings.mark_seconds, 0);
}

// Between a mark and the next lies what was recorded there, and each play stamps anew.
TEST(Profile, MarksInARecordingHoldWhatLiesBetweenThem) {
  FLOE_NEEDS_CUDA();
  const std::unique_ptr<Device> device = open_test_device();
  const DeviceBuffer from(*device, size_t{256} << 20), to(*device, size_t{256} << 20);
  std::vector<std::unique_ptr<Device::Mark>> marks;
  const std::unique_ptr<Device::Recording> recording = device->record([&] {
    marks.push_back(device->mark());
    marks.push_back(device->mark());
    device->copy(to.data(), from.data(), to.bytes());
    marks.push_back(device->mark());
    marks.push_back(device->mark());
  });
  ASSERT_NE(recording, nullptr);
  for (int i = 0; i < 3; ++i) {
    const std::unique_ptr<Device::Mark> before = device->mark();
    recording->play();
    const std::unique_ptr<Device::Mark> after = device->mark();
    device->wait();
    // 512 MiB take more than 50 us on any device there is (10 TB/s), two marks alone less.
    EXPECT_GT(marks[2]->seconds_since(*marks[1]), 50e-6);
    EXPECT_LT(marks[1]->seconds_since(*marks[0]), marks[2]->seconds_since(*marks[1]));
    EXPECT_LT(marks[3]->seconds_since(*marks[2]), marks[2]->seconds_since(*marks[1]));
    EXPECT_GE(marks[0]->seconds_since(*before), 0);  // stamped by this play, not by an earlier one
    EXPECT_LE(marks[3]->seconds_since(*before), after->seconds_since(*before));
  }
}

}  // namespace
}  // namespace floe
