#include "train/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::HasSubstr;
using Values = std::vector<std::pair<std::string, double>>;

TEST(MetricsLog, WritesAJsonObjectALineAndAppends) {
  const TempFolder folder;
  const std::string path = folder.file("m.jsonl");
  {
    MetricsLog log(path);
    log.write("train", 1, Values{{"loss", 0.1 + 0.2}, {"lr", 1e-300}});
    EXPECT_EQ(read_file(path), "{\"kind\":\"train\",\"step\":1,\"loss\":0.30000000000000004,\"lr\":1e-300}\n")
        << "a line is not in the file at once";
  }
  MetricsLog(path).write("valid", 2, Values{{"loss", std::nan("")}, {"up", INFINITY}, {"down", -INFINITY}});
  const std::string text = read_file(path);
  EXPECT_THAT(text,
              testing::EndsWith(
                  "\n{\"kind\":\"valid\",\"step\":2,\"loss\":\"nan\",\"up\":\"inf\",\"down\":\"-inf\"}\n"));
  EXPECT_EQ(nlohmann::json::parse(text.substr(0, text.find('\n')))["loss"].get<double>(), 0.1 + 0.2);
}

TEST(MetricsLog, AResumedRunLeavesTheFileOfOneThatWasNeverStopped) {
  const TempFolder folder;
  const auto run = [&](const std::string& name, int64_t from, int64_t to, std::optional<int64_t> keep_to) {
    MetricsLog log(folder.file(name), keep_to);
    for (int64_t step = from; step <= to; ++step)
      log.write("train", step, Values{{"loss", 1.0 / static_cast<double>(step)}});
  };
  run("whole", 1, 9, {});
  run("resumed", 1, 7, {});
  const std::string text = read_file(folder.file("resumed"));
  write_file(folder.file("resumed"), text + "{\"kind\":\"tra");  // a kill in the middle of a line
  run("resumed", 5, 9, 4);                                       // from the checkpoint of step 4
  EXPECT_EQ(read_file(folder.file("resumed")), read_file(folder.file("whole")));
}

TEST(MetricsLog, RefusalsNameFileAndLine) {
  const TempFolder folder;
  write_file(folder.file("m"), "{\"step\":1}\nhello\n");
  EXPECT_THAT(refusal(ErrorKind::user, [&] { MetricsLog log(folder.file("m")); }),
              HasSubstr(folder.file("m") + ":2: "));
  EXPECT_THAT(refusal(ErrorKind::io, [&] { MetricsLog log(folder.file("none/m")); }),
              HasSubstr("cannot write " + folder.file("none/m")));
}

TEST(MetricsLog, AFullDiskLeavesNoHalfLine) {
  const TempFolder folder;
  const std::string path = folder.file("m");
  const pid_t child = ::fork();
  if (child == 0) {  // the limit must not touch the test's own process
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100, 100};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    MetricsLog log(path);
    int written = 0;
    const std::string text = refusal(ErrorKind::io, [&] {
      for (; written < 100; ++written) log.write("train", written, Values{{"loss", 0.5}});
    });
    ::_exit(written == 2 && text.starts_with("cannot write " + path) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(path),
            "{\"kind\":\"train\",\"step\":0,\"loss\":0.5}\n{\"kind\":\"train\",\"step\":1,\"loss\":0.5}\n");
}

struct Screen {
  std::string text;
  Progress progress;
  explicit Screen(Progress::Options options)
      : progress([this](std::string_view piece) { text += piece; }, options) {}
};

TEST(Progress, WritesPlainLinesWhereThereIsNoTerminal) {
  Screen screen({.terminal = false});
  screen.progress.update({.step = 10,
                          .epoch = 1,
                          .done = 0.25,
                          .loss = 3.5,
                          .learning_rate = 1e-3,
                          .tokens_per_second = 1234.6,
                          .seconds = 30});
  screen.progress.update({.step = 20,
                          .epoch = 2,
                          .done = 0.5,
                          .loss = 3.25,
                          .learning_rate = 2e-3,
                          .tokens_per_second = 1200,
                          .seconds = 90});
  screen.progress.note("saved");
  screen.progress.finish();
  EXPECT_EQ(screen.text,
            " 25% epoch 1 step 10 loss 3.5000 lr 0.001 1235 tok/s 30s\n"
            " 50% epoch 2 step 20 loss 3.2500 lr 0.002 1200 tok/s 1m30s ETA 2m00s\n"
            "saved\n");
}

TEST(Progress, RewritesOneLineOnATerminalAndKeepsNotesAboveIt) {
  Screen screen({.terminal = true, .columns = 40});
  screen.progress.update({.step = 1, .done = 0.5, .seconds = 1});
  const std::string bar = "\r[##########..........]  50% epoch 1 ste\x1b[K";
  EXPECT_EQ(screen.text, bar);
  screen.progress.update({.step = 2, .done = 0.5, .seconds = 1.05});
  EXPECT_EQ(screen.text, bar) << "drawn again too soon";
  screen.progress.note("saved");
  EXPECT_EQ(screen.text, bar + "\r\x1b[Ksaved\n" + bar);
  screen.progress.update({.step = 3, .done = 1, .seconds = 1.06});
  EXPECT_THAT(screen.text, HasSubstr("[####################] 100%"));
  screen.progress.finish();
  screen.progress.finish();
  EXPECT_THAT(screen.text, testing::EndsWith("\x1b[K\n"));
}

TEST(Progress, WithoutAnEndThereIsNoBarAndNoTimeLeft) {
  Screen screen({.terminal = true});
  screen.progress.update({.step = 7, .done = -1, .seconds = 3});
  EXPECT_THAT(screen.text, testing::StartsWith("\repoch 1 step 7"));
  EXPECT_THAT(screen.text, testing::Not(HasSubstr("ETA")));
}

TEST(Progress, DurationsAreShort) {
  EXPECT_EQ(duration_text(0.9), "0s");
  EXPECT_EQ(duration_text(59.9), "59s");
  EXPECT_EQ(duration_text(185), "3m05s");
  EXPECT_EQ(duration_text(2 * 3600 + 7 * 60 + 59), "2h07m");
  EXPECT_EQ(duration_text(-5), "0s");
}

}  // namespace
}  // namespace floe
