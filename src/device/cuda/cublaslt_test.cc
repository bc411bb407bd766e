// Finding cuBLASLt; needs no GPU.
#include "device/cuda/cublaslt.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/temp_folder_for_test.h"
#include "device/cuda/libraries.h"

namespace floe {
namespace {

TEST(CublasLt, NamesWhatItTriedWhereItIsAbsent) {
  const std::vector<std::string> names = {"libno_such_library.so.1", "/no/such/folder/libcublasLt.so.13"};
  EXPECT_EQ(refusal(ErrorKind::device, [&] { CublasLt::load(names); }),
            "cuBLASLt of CUDA 13, which multiplies matrices on the GPU, was not found; tried "
            "libno_such_library.so.1, /no/such/folder/libcublasLt.so.13. Set CUDA_HOME or LD_LIBRARY_PATH to "
            "where libcublasLt.so.13 is");
}

TEST(CublasLt, NamesTheFunctionThatALibraryLacks) {
  const std::vector<std::string> names = {"libm.so.6"};
  EXPECT_EQ(refusal(ErrorKind::device, [&] { CublasLt::load(names); }),
            "cuBLASLt as found has no function 'cublasLtCreate'");
}

TEST(CublasLt, HasEveryFunctionThatIsUsed) {
  const std::vector<std::string> names = cuda_library_names("libcublasLt.so.13");
  const auto is_there = [](const std::string& name) {
    void* library = ::dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (library != nullptr) ::dlclose(library);
    return library != nullptr;
  };
  if (std::none_of(names.begin(), names.end(), is_there)) GTEST_SKIP() << "libcublasLt.so.13 is absent";
  EXPECT_NO_THROW(CublasLt::load(names));
}

TEST(CublasLt, IsLookedForWhereCudaHomeSays) {
  const char* before = std::getenv("CUDA_HOME");
  const std::string was = before == nullptr ? "" : before;
  ::setenv("CUDA_HOME", "/opt/cuda", 1);
  const std::vector<std::string> names = cuda_library_names("libcublasLt.so.13");
  before == nullptr ? ::unsetenv("CUDA_HOME") : ::setenv("CUDA_HOME", was.c_str(), 1);
  EXPECT_EQ(names[0], "libcublasLt.so.13");
  EXPECT_EQ(names[1], "libcublasLt.so");
  EXPECT_EQ(names[2], "/opt/cuda/lib64/libcublasLt.so.13");
}

}  // namespace
}  // namespace floe
