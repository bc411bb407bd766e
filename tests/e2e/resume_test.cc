// A run that is killed, stopped or out of space goes on as if nothing had happened, bit for bit.
#include "training_for_test.h"

namespace floe {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;

class Resume : public Training {
 protected:
  Conditions after_lines(const std::string& run, int64_t lines, int signal) const {
    return {.send_when = [=, this] { return metric_lines(run) >= lines; }, .send = signal};
  }
};

TEST_F(Resume, AfterKillsBetweenUpdatesIsTheSameRun) {
  const Flags more = {{"ema-decay", "0.9"}, {"max-updates", "60"}, {"subword-alpha", "0.3"}};
  ASSERT_EQ(train(flags("whole", more)).code, 0);
  // Before the first checkpoint, and behind two others.
  for (const int64_t lines : {4, 17, 36}) {
    EXPECT_EQ(train(flags("killed", more), after_lines("killed", lines, SIGKILL)).signal, SIGKILL);
  }
  const Outcome last = train(flags("killed", more));
  EXPECT_EQ(last.code, 0) << last.err;
  EXPECT_THAT(last.err, HasSubstr("resumed from " + path("killed/checkpoint-000000")));
  expect_same_run("whole", "killed");
}

TEST_F(Resume, AfterKillsWhileACheckpointIsWrittenIsTheSameRun) {
  const Flags more = {{"save-every", "1"}, {"validate-every", "3"}, {"keep", "2"}, {"max-updates", "80"}};
  ASSERT_EQ(train(flags("whole", more)).code, 0);
  int hits = 0;
  for (int kill = 0; kill < 8; ++kill) {
    const std::vector<std::string> before = names_in("killed", "checkpoint-");
    // Not the first one of a process, so that each gets further than the one before.
    const auto at_work = [&] {
      if (names_in("killed", ".unfinished-checkpoint").empty()) return false;
      const std::vector<std::string> now = names_in("killed", "checkpoint-");
      return !now.empty() && (before.empty() || now.back() > before.back());
    };
    EXPECT_EQ(train(flags("killed", more), {.send_when = at_work}).signal, SIGKILL);
    if (!names_in("killed", ".unfinished-checkpoint").empty()) ++hits;
  }
  EXPECT_GT(hits, 0) << "no kill fell into the writing of a checkpoint";
  ASSERT_EQ(train(flags("killed", more)).code, 0);
  expect_same_run("whole", "killed");
}

TEST_F(Resume, AfterAKillBehindTheLastCheckpointMakesTheModels) {
  const Flags more = {{"metrics", "cross_entropy"}};  // falls: the last checkpoint is the best
  ASSERT_EQ(train(flags("whole", more)).code, 0);
  ASSERT_EQ(train(flags("killed", more)).code, 0);
  // As if the kill came right behind the checkpoint of update 40.
  for (const char* name : {"killed/model", "killed/best"}) std::filesystem::remove_all(path(name));
  for (const std::string& link : names_in("killed", "best-")) std::filesystem::remove(path("killed/" + link));
  const Outcome again = train(flags("killed", more));
  EXPECT_EQ(again.code, 0);
  EXPECT_THAT(again.err, HasSubstr("nothing to do"));
  expect_same_run("whole", "killed");
}

TEST_F(Resume, AfterAStopIsTheSameRunAndTheStopNoPartOfTheMean) {
  const Flags more = {
      {"average-last", "3"}, {"max-updates", "400"}, {"save-every", "100"}, {"validate-every", "150"}};
  ASSERT_EQ(train(flags("whole", more)).code, 0);
  for (const int64_t lines : {5, 130, 320}) {
    const Outcome stopped = train(flags("stopped", more), after_lines("stopped", lines, SIGTERM));
    EXPECT_EQ(stopped.code, 0) << stopped.err;
    EXPECT_THAT(stopped.err, HasSubstr("stopped at update "));
    EXPECT_FALSE(has("stopped/model"));
  }
  ASSERT_EQ(train(flags("stopped", more)).code, 0);
  expect_same_run("whole", "stopped");
}

TEST_F(Resume, ExtendsARunThatHadEnded) {
  ASSERT_EQ(train(flags("run", {{"max-updates", "10"}})).code, 0);
  const Outcome again = train(flags("run", {{"max-updates", "10"}}));
  EXPECT_EQ(again.code, 0);
  EXPECT_THAT(again.err, HasSubstr("nothing to do: the run has ended at update 10\n"));
  ASSERT_EQ(train(flags("run", {{"max-updates", "15"}})).code, 0);
  EXPECT_EQ(metrics("run", "train").size(), 15u);
  EXPECT_TRUE(has("run/checkpoint-00000015"));
}

TEST_F(Resume, NamesTheOptionsThatHaveChanged) {
  ASSERT_EQ(train(flags("run")).code, 0);
  const std::string record = bytes("run/options.toml");
  expect_refusal(
      train(flags("run", {{"batch-tokens", "256"}, {"max-updates", "50"}})),
      AllOf(HasSubstr("checkpoint-00000040 was made with other options: batch_tokens (512, now 256);")));
  expect_refusal(
      train(flags("run", {{"learning-rate", "0.02"}, {"max-updates", "50"}})),
      AllOf(HasSubstr("schedule: learning_rate (0.01, now 0.02);"), HasSubstr("override_schedule")));
  expect_refusal(train(flags("run", {{"resume", "false"}})),
                 AllOf(HasSubstr("checkpoint-00000040"), EndsWith("a new run needs another folder\n")));
  EXPECT_EQ(bytes("run/options.toml"), record) << "a refused run rewrote the record";
  const Outcome overridden =
      train(flags("run", {{"learning-rate", "0.02"}, {"max-updates", "50"}, {"override-schedule", "true"}}));
  EXPECT_EQ(overridden.code, 0) << overridden.err;
  EXPECT_EQ(metrics("run", "train").size(), 50u);
  EXPECT_THAT(bytes("run/options.toml"), HasSubstr("learning_rate = 0.02"));
}

TEST_F(Resume, NoticesAnotherText) {
  ASSERT_EQ(train(flags("run", {{"max-updates", "10"}})).code, 0);
  write_text("train", 241, 1);
  expect_refusal(train(flags("run", {{"max-updates", "20"}})), HasSubstr("the text to train on has changed"));
}

TEST_F(Resume, NamesACheckpointThatIsCutOff) {
  ASSERT_EQ(train(flags("run", {{"max-updates", "10"}})).code, 0);
  for (const char* name : {"model.safetensors", "trainer.safetensors", "state.json"}) {
    const std::string file = path("run/checkpoint-00000010/") + name;
    const std::string whole = read_file(file);
    write_file(file, whole.substr(0, whole.size() / 2));
    expect_refusal(train(flags("run", {{"max-updates", "20"}})), HasSubstr(file));
    write_file(file, whole);
  }
  EXPECT_EQ(train(flags("run", {{"max-updates", "20"}})).code, 0);
}

TEST_F(Resume, AFullDiskLeavesTheEarlierCheckpointAsItWas) {
  const Flags more = {{"validate-every", "0"}};
  ASSERT_EQ(train(flags("whole", more)).code, 0);
  ASSERT_EQ(train(flags("full", {{"validate-every", "0"}, {"max-updates", "20"}})).code, 0);
  const std::string weights = bytes("full/checkpoint-00000020/model.safetensors");
  const Outcome full = train(flags("full", more), {.file_size = 8192});  // options fit, weights do not
  expect_refusal(full,
                 AllOf(HasSubstr("cannot write " + path("full/")), HasSubstr("safetensors: File too large")));
  EXPECT_EQ(names_in("full", "checkpoint-").back(), "checkpoint-00000020");
  EXPECT_EQ(bytes("full/checkpoint-00000020/model.safetensors"), weights);
  EXPECT_TRUE(names_in("full", ".unfinished").empty());
  ASSERT_EQ(train(flags("full", more)).code, 0);
  expect_same_run("whole", "full");
}

TEST_F(Resume, TwoProcessesDoNotShareAFolder) {
  Outcome second;
  const Outcome first = train(flags("run", {{"max-updates", "4000"}}),
                              {.send_when =
                                   [&] {
                                     if (metric_lines("run") < 1) return false;
                                     // Files of its own: the first process writes to the fixture's.
                                     const std::string command =
                                         std::string("'") + FLOE_PROGRAM + "' train --train-source " +
                                         path("train.src") + " --train-target " + path("train.tgt") +
                                         " --max-updates 1 --output " + path("run") + " 2>" + path("second");
                                     second.code = WEXITSTATUS(std::system(command.c_str()));
                                     second.err = bytes("second");
                                     return true;
                                   },
                               .send = SIGTERM});
  EXPECT_EQ(first.code, 0) << first.err;
  expect_refusal(second, EndsWith("run: another process is training in this folder\n"));
}

}  // namespace
}  // namespace floe
