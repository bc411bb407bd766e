#include "device/cuda/libraries.h"

#include <fmt/core.h>

#include <cstdlib>

namespace floe {

std::vector<std::string> cuda_library_names(std::string_view file) {
  std::vector<std::string> names = {std::string(file), std::string(file.substr(0, file.rfind('.')))};
  std::vector<std::string> homes;
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const char* home = std::getenv(variable); home != nullptr && *home != '\0') homes.emplace_back(home);
  }
  homes.emplace_back("/usr/local/cuda-13");
  homes.emplace_back("/usr/local/cuda-13.0");
  homes.emplace_back("/usr/local/cuda");
  for (const std::string& home : homes) {
    for (const char* folder : {"lib64", "lib", "targets/x86_64-linux/lib"}) {
      names.push_back(fmt::format("{}/{}/{}", home, folder, file));
    }
  }
  return names;
}

}  // namespace floe
