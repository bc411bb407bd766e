#include "train/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/temp_folder_for_test.h"
#include "train/trainer_state.h"

namespace floe {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TrainerState example(int64_t step = 120) {
  TrainerState state;
  state.step = step;
  state.position = {.epoch = 3, .next = 17};
  state.batches_fingerprint = UINT64_MAX - 5;
  state.decay = {.factor = 0.1 + 0.2, .decays = 2};
  state.early_stop.metrics = {{true, 1.0 / 3, 100, 4}, {false, 0, 0, 1}};
  state.seed = UINT64_MAX;
  state.target_tokens = INT64_MAX;
  state.skipped = 5;
  state.skipped_in_a_row = 1;
  state.seconds = 1e-300;
  state.metrics = {{"loss", std::numeric_limits<double>::infinity()}, {"bleu", -0.0}, {"chrf", 41.7}};
  state.options_hash = "abc";
  return state;
}

// Tensors whose every element is the step, so that a mixed checkpoint shows.
struct Weights {
  Tensor model, moment;
  std::vector<NamedTensor> model_rows, trainer_rows;
  explicit Weights(int64_t step, int64_t size = 1'000)
      : model(DType::f32, {size}), moment(DType::f64, {size}) {
    for (int64_t i = 0; i < size; ++i) {
      model.set(i, static_cast<double>(step));
      moment.set(i, static_cast<double>(step));
    }
    model_rows = {{"w", view_of(model)}};
    trainer_rows = {{"w.m", view_of(moment)}};
  }
  CheckpointTensors tensors() const { return {model_rows, trainer_rows}; }
};

std::string save(const std::string& run, int64_t step) {
  const Weights weights(step);
  return save_checkpoint(run, example(step), weights.tensors());
}

void expect_whole(const std::string& path) {
  const Checkpoint checkpoint = load_checkpoint(path);
  const auto step = static_cast<double>(checkpoint.state.step);
  const Tensor model = checkpoint.model.load("w");
  const Tensor moment = checkpoint.trainer.load("w.m");
  for (int64_t i = 0; i < model.size(); ++i) ASSERT_EQ(model.at(i), step);
  for (int64_t i = 0; i < moment.size(); ++i) ASSERT_EQ(moment.at(i), step);
}

TEST(TrainerState, EveryFieldComesBackBitForBit) {
  const TrainerState state = example();
  EXPECT_EQ(parse_trainer_state(json_of(state), "x"), state);
  EXPECT_TRUE(std::signbit(parse_trainer_state(json_of(state), "x").metrics[1].second));
  EXPECT_EQ(parse_trainer_state(json_of({}), "x"), TrainerState{});
  TrainerState nan;
  nan.metrics = {{"loss", std::nan("")}};
  EXPECT_TRUE(std::isnan(parse_trainer_state(json_of(nan), "x").metrics[0].second));
}

TEST(TrainerState, RefusesWhatIsMissingUnknownOrOfAnotherKindByName) {
  const std::string good = json_of(example());
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    return refusal(ErrorKind::user, [&] { parse_trainer_state(text, "dir/state.json"); });
  };
  EXPECT_EQ(changed("\"step\": 120", "\"steps\": 120"), "dir/state.json: 'step' is missing");
  EXPECT_EQ(changed("\"step\": 120", "\"step\": 1.5"), "dir/state.json: 'step' is not a whole number");
  EXPECT_EQ(changed("\"step\": 120", "\"step\": 9999999999999999999"),
            "dir/state.json: 'step' is not a whole number");
  EXPECT_EQ(changed("\"epoch\": 3", "\"epoch\": -3"), "dir/state.json: 'epoch' is not a whole number from 0");
  EXPECT_EQ(changed("\"has_best\": true", "\"has_best\": 1"),
            "dir/state.json: 'has_best' is not true or false");
  EXPECT_EQ(changed("\"inf\"", "\"infinite\""), "dir/state.json: 'value' is not a number");
  EXPECT_EQ(changed("\"abc\"", "7"), "dir/state.json: 'options_hash' is not a text");
  EXPECT_EQ(changed("\"step\": 120", "\"step\": 120, \"new\": 1"),
            "dir/state.json: it holds a field that this version does not know");
  EXPECT_EQ(changed("\"decays\": 2", "\"decays\": 2, \"new\": 1"),
            "dir/state.json: it holds a field that this version does not know");
  EXPECT_EQ(changed("\"format_version\": 1", "\"format_version\": 2"),
            "dir/state.json: format version 2; this program reads version 1");
  for (size_t size = 0; size + 2 < good.size(); size += 7) {
    EXPECT_THAT(refusal(ErrorKind::user, [&] { parse_trainer_state(good.substr(0, size), "s"); }),
                HasSubstr("cut off"));
  }
}

TEST(Checkpoint, ComesBackWhole) {
  const TempFolder folder;
  const std::string run = folder.file("a/run");
  EXPECT_FALSE(latest_checkpoint(run).has_value());
  const std::string path = save(run, 120);
  EXPECT_EQ(path, run + "/checkpoint-00000120");
  EXPECT_EQ(latest_checkpoint(run), path);
  expect_whole(path);
  EXPECT_EQ(load_checkpoint(path).state, example());
  save(run, 999'999'999);
  save(run, 30);
  EXPECT_THAT(checkpoint_steps(run), ElementsAre(30, 120, 999'999'999));
  EXPECT_EQ(latest_checkpoint(run), checkpoint_path(run, 999'999'999));
}

TEST(Checkpoint, OneOfTheSameStepIsReplaced) {
  const TempFolder folder;
  save(folder.path(), 5);
  TrainerState state = example(5);
  state.seed = 77;
  const Weights weights(5);
  const std::string path = save_checkpoint(folder.path(), state, weights.tensors());
  EXPECT_EQ(load_checkpoint(path).state.seed, 77u);
  EXPECT_EQ(folder.entries(), 1) << "something is left beside the checkpoint";
}

TEST(Checkpoint, ADamagedOrMixedOneIsRefusedByItsFilesName) {
  const TempFolder folder;
  const std::string path = save(folder.path(), 1);
  const std::string other = save(folder.path(), 2);
  const auto refused = [&](const std::string& at) {
    return refusal(ErrorKind::user, [&] { load_checkpoint(at); });
  };
  EXPECT_THAT(refused(folder.file("none")), HasSubstr("none: there is no such checkpoint"));
  for (const std::string name : {"model.safetensors", "trainer.safetensors", "state.json"}) {
    const std::string file = path + "/" + name;
    const std::string bytes = read_file(file);
    for (const size_t size : {size_t{0}, size_t{5}, bytes.size() / 2, bytes.size() - 3}) {
      write_file(file, bytes.substr(0, size));
      EXPECT_THAT(refused(path), HasSubstr(file)) << size;
    }
    std::filesystem::remove(file);
    EXPECT_THAT(refused(path), AllOf(HasSubstr(file), HasSubstr("missing")));
    write_file(file, read_file(other + "/" + name));
    EXPECT_THAT(refused(path),
                AllOf(HasSubstr(path), HasSubstr("does not belong to the state.json beside it")));
    write_file(file, bytes);
    expect_whole(path);
  }
}

TEST(Checkpoint, KeepsTheLatestAndWhatLinksName) {
  const TempFolder folder;
  const std::string& run = folder.path();
  for (int step = 10; step <= 60; step += 10) save(run, step);
  link_checkpoint(run, "best-bleu", 10);
  link_checkpoint(run, "best-bleu", 20);
  link_checkpoint(run, "best-loss", 50);
  prune_checkpoints(run, 0);
  EXPECT_EQ(checkpoint_steps(run).size(), 6u);
  prune_checkpoints(run, 2);
  EXPECT_THAT(checkpoint_steps(run), ElementsAre(20, 50, 60));
  EXPECT_EQ(load_checkpoint(run + "/best-bleu").state.step, 20);
  prune_checkpoints(run, 2);
  EXPECT_EQ(checkpoint_steps(run).size(), 3u);
  EXPECT_EQ(folder.entries(), 5);
  EXPECT_THAT(refusal(ErrorKind::io, [&] { link_checkpoint(run + "/none", "best", 1); }),
              HasSubstr("none/best"));
}

TEST(Checkpoint, WhatAKilledWriterLeftIsNoCheckpointAndIsRemoved) {
  const TempFolder folder;
  std::filesystem::create_directories(folder.file(".unfinished-checkpoint-00000009"));
  write_file(folder.file(".unfinished-checkpoint-00000009/model.safetensors"), "half");
  std::filesystem::create_directories(folder.file(".removed-checkpoint-00000001"));
  EXPECT_FALSE(latest_checkpoint(folder.path()).has_value());
  save(folder.path(), 9);
  EXPECT_EQ(folder.entries(), 1);
}

TEST(Checkpoint, AKillAtAnyMomentLeavesWholeCheckpointsOnly) {
  const TempFolder folder;
  const std::string& run = folder.path();
  std::mt19937 engine(11);
  const auto start = std::chrono::steady_clock::now();
  save(run, 1);
  const auto once =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  int64_t step = 1;
  for (int round = 0; round < 30; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int64_t next = step + 1;; ++next) {
        save(run, next);
        link_checkpoint(run, "best-loss", next);
        prune_checkpoints(run, 2);
        save(run, next);  // replaced, too
      }
    }
    ::usleep(static_cast<useconds_t>(static_cast<uint64_t>(once.count()) * (engine() % 1'000) /
                                     200));  // up to five saves later
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself";
    for (const int64_t found : checkpoint_steps(run)) expect_whole(checkpoint_path(run, found));
    if (!checkpoint_steps(run).empty()) {
      EXPECT_GE(checkpoint_steps(run).back(), step) << "a checkpoint was lost";
      step = checkpoint_steps(run).back();
    }
    if (std::filesystem::is_symlink(run + "/best-loss")) expect_whole(run + "/best-loss");
  }
  EXPECT_GT(step, 1) << "every writer was killed before its first checkpoint";
}

TEST(Checkpoint, AFullDiskIsAnIoErrorAndEarlierCheckpointsStay) {
  const TempFolder folder;
  const std::string& run = folder.path();
  save(run, 1);
  const pid_t child = ::fork();
  if (child == 0) {  // the limit must not touch the test's own process
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{6'000, 6'000};  // the weights fit, the moments do not
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string text = refusal(ErrorKind::io, [&] { save(run, 2); });
    ::_exit(text.find("trainer.safetensors: File too large") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_THAT(checkpoint_steps(run), ElementsAre(1));
  EXPECT_EQ(folder.entries(), 1);
  expect_whole(checkpoint_path(run, 1));
}

TEST(AverageWeights, AddsUpInDoubleAndRoundsOnce) {
  const TempFolder folder;
  std::vector<std::string> paths;
  // In float, 1e8 + 1 loses the 1.
  for (const float value : {1e8f, 1.0f, -1e8f}) {
    Tensor w = Tensor::from_floats({2}, {value, 3});
    Tensor half = Tensor::from_doubles(DType::bf16, {1}, {value});
    Tensor ids = Tensor::from_ints({2}, {7, 8});
    paths.push_back(folder.file("m" + std::to_string(paths.size())));
    write_safetensors(paths.back(), std::vector<NamedTensor>{
                                        {"w", view_of(w)}, {"h", view_of(half)}, {"ids", view_of(ids)}});
  }
  for (const auto& [name, tensor] : average_weights(paths)) {
    if (name == "w") {
      EXPECT_EQ(tensor.as<float>()[0], 1.0f / 3);
      EXPECT_EQ(tensor.as<float>()[1], 3);
    } else if (name == "h") {
      EXPECT_EQ(tensor.at(0), round_to(DType::bf16, 1.0 / 3));
    } else {
      EXPECT_EQ(tensor.at(1), 8);
    }
  }
  EXPECT_EQ(average_weights(std::span(paths).first(1)).size(), 3u);
  const auto ids = average_weights(paths, "i");
  ASSERT_EQ(ids.size(), 1u);
  EXPECT_EQ(ids[0].first, "ds");
}

TEST(AverageWeights, RefusesModelsThatDifferAndNamesFileAndTensor) {
  const TempFolder folder;
  const auto write = [&](const std::string& name, const std::vector<NamedTensor>& tensors) {
    write_safetensors(folder.file(name), tensors);
    return folder.file(name);
  };
  const Tensor two(DType::f32, {2});
  const Tensor three(DType::f32, {3});
  const Tensor ids = Tensor::from_ints({1}, {1});
  const Tensor other_ids = Tensor::from_ints({1}, {2});
  const std::string a = write("a", {{"w", view_of(two)}, {"ids", view_of(ids)}});
  const auto refused = [&](const std::string& b) {
    const std::vector<std::string> paths{a, b};
    return refusal(ErrorKind::user, [&] { average_weights(paths); });
  };
  EXPECT_THAT(refused(write("b", {{"w", view_of(three)}, {"ids", view_of(ids)}})),
              AllOf(HasSubstr(folder.file("b")), HasSubstr("'w' is f32 [3]"), HasSubstr("it is f32 [2]")));
  EXPECT_THAT(refused(write("c", {{"ids", view_of(ids)}})),
              AllOf(HasSubstr(folder.file("c")), HasSubstr("no tensor 'w'")));
  EXPECT_THAT(refused(write("d", {{"w", view_of(two)}, {"ids", view_of(ids)}, {"x", view_of(two)}})),
              AllOf(HasSubstr(folder.file("d")), HasSubstr("tensor 'x' is not in")));
  EXPECT_THAT(refused(write("e", {{"w", view_of(two)}, {"ids", view_of(other_ids)}})),
              AllOf(HasSubstr(folder.file("e")), HasSubstr("'ids' of type i32 differs")));
  EXPECT_THAT(refusal(ErrorKind::user, [] { average_weights({}); }), HasSubstr("no model to average"));
}

}  // namespace
}  // namespace floe
