#include "kernel/cuda/gemm_choices.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"

namespace floe {
namespace {

struct Folder {
  std::string path = testing::TempDir() + "gemm_choices_" + std::to_string(::getpid()) + "_" +
                     testing::UnitTest::GetInstance()->current_test_info()->name();
  ~Folder() { std::filesystem::remove_all(path); }
};

TEST(GemmChoices, MeasuresOnceAndRemembersOnDisk) {
  const Folder folder;
  int measured = 0;
  const auto measure = [&] { return "choice " + std::to_string(++measured); };
  EXPECT_EQ(GemmChoices(folder.path).of("a", measure), "choice 1");
  EXPECT_EQ(GemmChoices(folder.path).of("a", measure), "choice 1");
  EXPECT_EQ(GemmChoices(folder.path).of("b", measure), "choice 2");
  EXPECT_EQ(read_file(folder.path + "/gemm-choices.txt"), "floe gemm choices 2\na\tchoice 1\nb\tchoice 2\n");
}

TEST(GemmChoices, ReadsWhatAnEarlierRunWrote) {
  const Folder folder;
  std::filesystem::create_directories(folder.path);
  write_file(folder.path + "/gemm-choices.txt", "floe gemm choices 2\na\tkept\n");
  EXPECT_EQ(GemmChoices(folder.path).of("a", [] { return std::string("new"); }), "kept");
}

TEST(GemmChoices, DoesWithoutAFileThatIsNotOne) {
  const Folder folder;
  std::filesystem::create_directories(folder.path);
  write_file(folder.path + "/gemm-choices.txt", "something else\na\tkept\n");
  EXPECT_EQ(GemmChoices(folder.path).of("a", [] { return std::string("new"); }), "new");
  EXPECT_EQ(GemmChoices("/proc/no/such/folder").of("c", [] { return std::string("new"); }), "new");
  EXPECT_EQ(GemmChoices("").of("d", [] { return std::string("new"); }), "new");
}

}  // namespace
}  // namespace floe
