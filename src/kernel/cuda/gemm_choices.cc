#include "kernel/cuda/gemm_choices.h"

#include <map>
#include <mutex>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "device/cuda/cache_folder.h"

namespace floe {
namespace {

using Choices = std::map<std::string, std::string>;

constexpr const char* kHead = "floe gemm choices 2";

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

std::string text_of(const Choices& choices) {
  std::string text = std::string(kHead) + "\n";
  for (const auto& [key, choice] : choices) text += key + "\t" + choice + "\n";
  return text;
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
  if (!path.empty()) write_to_cache(path, text_of(all));
  return choice;
}

}  // namespace floe
