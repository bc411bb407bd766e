// Compiling and the cache of compiled kernels: both need NVRTC and no GPU.
#include "device/cuda/nvrtc.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/file.h"
#include "base/temp_folder_for_test.h"
#include "device/cuda/cache_folder.h"

#define FLOE_NEEDS_NVRTC()  \
  std::string floe_why_not; \
  if (!Nvrtc::available(&floe_why_not)) GTEST_SKIP() << "NVRTC is absent: " << floe_why_not

namespace floe {
namespace {

constexpr const char* kSource =
    "extern \"C\" __global__ void twice(float* x, int n) {\n"
    "  const int i = blockIdx.x * 256 + threadIdx.x;\n"
    "  if (i < n) x[i] = x[i] + x[i];\n"
    "}\n";

std::string only_file(const std::string& folder) {
  std::string found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    EXPECT_EQ(found, "") << "more than one file in the cache";
    found = entry.path().string();
  }
  return found;
}

struct Variable {
  Variable(const char* its_name, const char* value) : name(its_name) {
    if (const char* before = std::getenv(name)) was = before;
    value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1);
  }
  ~Variable() { was.empty() ? ::unsetenv(name) : ::setenv(name, was.c_str(), 1); }
  const char* name;
  std::string was;
};

TEST(Nvrtc, NamesWhatItTriedWhereItIsAbsent) {
  const std::vector<std::string> names = {"libno_such_library.so.1", "/no/such/folder/libnvrtc.so.13"};
  EXPECT_EQ(refusal(ErrorKind::device, [&] { Nvrtc nvrtc(names); }),
            "NVRTC of CUDA 13, which compiles kernels for the GPU, was not found; tried "
            "libno_such_library.so.1, /no/such/folder/libnvrtc.so.13. Set CUDA_HOME or LD_LIBRARY_PATH to "
            "where libnvrtc.so.13 is");
}

TEST(Nvrtc, RefusesALibraryOfAnotherKind) {
  const std::vector<std::string> names = {"libm.so.6"};
  EXPECT_NE(refusal(ErrorKind::device, [&] { Nvrtc nvrtc(names); }).find("tried libm.so.6 (not NVRTC)"),
            std::string::npos);
}

TEST(Nvrtc, CompilesForEachArchitectureWithoutADevice) {
  FLOE_NEEDS_NVRTC();
  for (const int sm : {80, 90, 100}) {
    const std::string code = Nvrtc::shared().compile(kSource, sm);
    EXPECT_EQ(code.substr(1, 3), "ELF") << sm;
  }
}

TEST(Nvrtc, RepeatsTheCompilersWords) {
  FLOE_NEEDS_NVRTC();
  const std::string message = refusal(ErrorKind::device, [] {
    Nvrtc::shared().compile("extern \"C\" __global__ void f() {\n  undefined_name;\n}\n", 90);
  });
  EXPECT_EQ(message.find("NVRTC " + Nvrtc::shared().version() + " for sm_90a: "), 0u) << message;
  EXPECT_NE(message.find("floe.cu(2): error: identifier \"undefined_name\" is undefined"), std::string::npos)
      << message;
}

TEST(KernelCache, IsWhereTheEnvironmentSays) {
  const Variable home("HOME", "/home/a"), xdg("XDG_CACHE_HOME", "/cache"), own("FLOE_CACHE_DIR", "/mine");
  EXPECT_EQ(kernel_cache_folder(), "/mine");
  const Variable no_own("FLOE_CACHE_DIR", nullptr);
  EXPECT_EQ(kernel_cache_folder(), "/cache/floe");
  const Variable no_xdg("XDG_CACHE_HOME", nullptr);
  EXPECT_EQ(kernel_cache_folder(), "/home/a/.cache/floe");
  const Variable no_home("HOME", nullptr);
  EXPECT_EQ(kernel_cache_folder(), "");
}

TEST(KernelCache, WritesAFileWithItsFoldersOrSaysThatItCannot) {
  const TempFolder temp;
  EXPECT_TRUE(write_to_cache(temp.file("a/b/c"), "kept"));
  EXPECT_EQ(read_file(temp.file("a/b/c")), "kept");
  EXPECT_FALSE(write_to_cache("/proc/no/such/folder/c", "kept"));
}

TEST(KernelCache, GivesWhatWasCompiledBefore) {
  FLOE_NEEDS_NVRTC();
  const TempFolder temp;
  const std::string folder = temp.file("a/b");
  const std::string code = compile_cached(Nvrtc::shared(), kSource, 90, folder);
  const std::string path = only_file(folder);
  struct stat first{}, second{};
  ASSERT_EQ(::stat(path.c_str(), &first), 0);
  EXPECT_EQ(compile_cached(Nvrtc::shared(), kSource, 90, folder), code);
  ASSERT_EQ(::stat(only_file(folder).c_str(), &second), 0);
  EXPECT_EQ(first.st_ino, second.st_ino) << "the file was written again";
}

TEST(KernelCache, TellsSourcesAndArchitecturesApart) {
  FLOE_NEEDS_NVRTC();
  const TempFolder temp;
  const std::string other = std::string(kSource) + "\n";
  const std::string on_80 = compile_cached(Nvrtc::shared(), kSource, 80, temp.path());
  const std::string on_90 = compile_cached(Nvrtc::shared(), kSource, 90, temp.path());
  compile_cached(Nvrtc::shared(), other, 90, temp.path());
  EXPECT_EQ(temp.entries(), 3);
  EXPECT_NE(on_80, on_90);
}

TEST(KernelCache, ReplacesADamagedFile) {
  FLOE_NEEDS_NVRTC();
  const TempFolder temp;
  const std::string code = compile_cached(Nvrtc::shared(), kSource, 90, temp.path());
  const std::string path = only_file(temp.path());
  const std::string whole = read_file(path);
  std::string flipped = whole;
  flipped[whole.size() / 2] = static_cast<char>(flipped[whole.size() / 2] ^ 1);
  for (const std::string& damaged :
       {std::string(), whole.substr(0, 20), whole.substr(0, whole.size() - 1), whole + "x", flipped}) {
    write_file(path, damaged);
    EXPECT_EQ(compile_cached(Nvrtc::shared(), kSource, 90, temp.path()), code);
    EXPECT_EQ(read_file(only_file(temp.path())), whole);
  }
}

TEST(KernelCache, IsDoneWithoutWhereItCannotBeWritten) {
  FLOE_NEEDS_NVRTC();
  const TempFolder temp;
  write_file(temp.file("file"), "");
  const std::string code = Nvrtc::shared().compile(kSource, 90);
  EXPECT_EQ(compile_cached(Nvrtc::shared(), kSource, 90, ""), code);
  EXPECT_EQ(compile_cached(Nvrtc::shared(), kSource, 90, temp.file("file") + "/below"), code);
  EXPECT_EQ(compile_cached(Nvrtc::shared(), kSource, 90, "/proc/no_folder_can_be_made_here"), code);
  EXPECT_EQ(temp.entries(), 1);
}

TEST(KernelCache, IsSharedByProcessesAndThreads) {
  FLOE_NEEDS_NVRTC();
  const std::string code = Nvrtc::shared().compile(kSource, 90);
  for (int round = 0; round < 3; ++round) {
    const TempFolder temp;
    const auto same = [&] { return compile_cached(Nvrtc::shared(), kSource, 90, temp.file("c")) == code; };
    std::vector<pid_t> children;
    for (int k = 0; k < 8; ++k) {
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        bool second = false;
        std::thread thread([&] { second = same(); });
        const bool first = same();
        thread.join();
        ::_exit(first && second ? 0 : 1);
      }
      children.push_back(child);
    }
    for (const pid_t child : children) {
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    }
    only_file(temp.file("c"));
  }
}

}  // namespace
}  // namespace floe
