#include "kernel/cuda/gemm_choices.h"

#include <filesystem>
#include <map>
#include <mutex>
#include <sstream>

#include "base/error.h"
#include "base/file.h"

namespace floe {
namespace {

using Choices = std::map<std::string, std::string>;

constexpr const char* kHead = "floe gemm choices 1";

// "KEY\tCHOICE" a line. A file that does not begin as it should holds nothing.
Choices read(const std::string& path) {
  Choices choices;
  if (path.empty() || !file_exists(path)) return choices;
  try {
    std::istringstream lines(read_file(path));
    std::string line;
    if (!std::getline(lines, line) || line != kHead) return choices;
    while (std::getline(lines, line)) {
      const size_t tab = line.find('\t');
      if (tab != std::string::npos) choices[line.substr(0, tab)] = line.substr(tab + 1);
    }
  } catch (const Error&) {
    choices.clear();
  }
  return choices;
}

void write(const std::string& path, const Choices& choices) {
  if (path.empty()) return;
  std::string text = std::string(kHead) + "\n";
  for (const auto& [key, choice] : choices) text += key + "\t" + choice + "\n";
  try {
    std::filesystem::create_directories(folder_of(path));
    write_file(path, text);
  } catch (const Error&) {
  } catch (const std::filesystem::filesystem_error&) {
  }
}

}  // namespace

std::string GemmChoices::of(const std::string& key, const std::function<std::string()>& measure) const {
  static std::mutex mutex;
  static std::map<std::string, Choices> of_folders;  // what this process has read and added
  const std::lock_guard lock(mutex);
  const std::string path = folder_.empty() ? "" : folder_ + "/gemm-choices.txt";
  const auto [folder, fresh] = of_folders.try_emplace(folder_);
  if (fresh) folder->second = read(path);
  const auto known = folder->second.find(key);
  if (known != folder->second.end()) return known->second;
  const std::string choice = measure();
  folder->second[key] = choice;
  Choices all = read(path);  // another process may have added some
  all.insert(folder->second.begin(), folder->second.end());
  write(path, all);
  return choice;
}

}  // namespace floe
