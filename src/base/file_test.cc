#include "base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "base/error.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::HasSubstr;

TEST(File, ReadsBackEveryByteThatWasWritten) {
  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += static_cast<char>(i * 7 % 256);
  write_file(folder.file("a"), text);
  EXPECT_EQ(read_file(folder.file("a")), text);
  EXPECT_EQ(folder.entries(), 1) << "a temporary file is left";
}

TEST(File, AnEmptyFileIsAFile) {
  const TempFolder folder;
  write_file(folder.file("a"), "");
  EXPECT_TRUE(file_exists(folder.file("a")));
  EXPECT_EQ(read_file(folder.file("a")), "");
}

TEST(File, RefusalsNameThePathAndTheCause) {
  const TempFolder folder;
  EXPECT_THAT(refusal(ErrorKind::io, [&] { read_file(folder.file("none")); }),
              testing::AllOf(HasSubstr(folder.file("none")), HasSubstr("No such file")));
  EXPECT_THAT(refusal(ErrorKind::io, [&] { read_file(folder.path()); }), HasSubstr("it is a folder"));
  EXPECT_THAT(refusal(ErrorKind::io, [&] { write_file(folder.file("none/a"), "x"); }),
              testing::AllOf(HasSubstr(folder.file("none/a")), HasSubstr("No such file")));
  EXPECT_THAT(refusal(ErrorKind::io, [&] { write_file(folder.path(), "x"); }), HasSubstr("cannot write"));
  EXPECT_THAT(refusal(ErrorKind::io, [&] { sync_folder(folder.file("none")); }), HasSubstr("cannot flush"));
}

TEST(File, AWriterThatIsNotCommittedLeavesTheEarlierFileAlone) {
  const TempFolder folder;
  write_file(folder.file("a"), "old");
  {
    FileWriter writer(folder.file("a"));
    writer.write("new", 3);
  }
  EXPECT_EQ(read_file(folder.file("a")), "old");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(File, AFullDiskIsAnIoErrorAndTheEarlierFileStays) {
  const TempFolder folder;
  write_file(folder.file("a"), "old");
  const pid_t child = ::fork();
  if (child == 0) {  // the limit must not touch the test's own process
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string text =
        refusal(ErrorKind::io, [&] { write_file(folder.file("a"), std::string(10'000, 'x')); });
    ::_exit(text.starts_with("cannot write " + folder.file("a") + ": File too large") ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(folder.file("a")), "old");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(File, TwoThreadsThatWriteOneFileLeaveOneOfTheTwoWhole) {
  const TempFolder folder;
  std::vector<std::thread> threads;
  for (const char c : {'a', 'b'}) {
    threads.emplace_back([&folder, c] {
      for (int i = 0; i < 50; ++i) write_file(folder.file("f"), std::string(20'000, c));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = read_file(folder.file("f"));
  EXPECT_TRUE(text == std::string(20'000, 'a') || text == std::string(20'000, 'b'));
  EXPECT_EQ(folder.entries(), 1);
}

TEST(File, TheFolderOfAPathIsWhatComesBeforeItsLastSlash) {
  EXPECT_EQ(folder_of("a/b/c"), "a/b");
  EXPECT_EQ(folder_of("/c"), "/");
  EXPECT_EQ(folder_of("c"), ".");
}

}  // namespace
}  // namespace floe
