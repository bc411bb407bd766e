#include "device/cuda/cache_folder.h"

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace floe {

std::string kernel_cache_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string folder = variable("FLOE_CACHE_DIR"); !folder.empty()) return folder;
  if (const std::string folder = variable("XDG_CACHE_HOME"); !folder.empty()) return folder + "/floe";
  if (const std::string folder = variable("HOME"); !folder.empty()) return folder + "/.cache/floe";
  return "";
}

bool write_to_cache(const std::string& path, std::string_view text) {
  std::error_code error;
  std::filesystem::create_directories(folder_of(path), error);
  try {
    write_file(path, text);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace floe
