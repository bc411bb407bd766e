// For tests: a folder that is gone with its owner, and the text of a refusal.
#pragma once
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "base/error.h"

namespace floe {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "floe_test_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) fail_io("cannot make a folder for a test");
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  int entries() const {
    int n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) n += entry.path().empty() ? 0 : 1;
    return n;
  }

 private:
  std::string path_;
};

// The text of the Error of that kind which f throws; a sentence that no test expects when it throws none.
template <class F>
std::string refusal(ErrorKind kind, F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.kind() == kind ? error.what() : std::string("an error of another kind: ") + error.what();
  }
  return "nothing was refused";
}

}  // namespace floe
