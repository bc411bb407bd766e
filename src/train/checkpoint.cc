#include "train/checkpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "train/trainer_state.h"

namespace floe {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kUnfinished = ".unfinished-";
constexpr std::string_view kRemoved = ".removed-";
constexpr const char* kHashKey = "state_hash";

std::string hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

// The step in "checkpoint-123"; -1 for any other name.
int64_t step_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return -1;
  name.remove_prefix(kPrefix.size());
  int64_t step = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  return error == std::errc() && end == name.data() + name.size() ? step : -1;
}

std::vector<fs::path> entries_of(const std::string& run) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (fs::directory_iterator at(run, error), end; !error && at != end; at.increment(error))
    paths.push_back(at->path());
  if (error && error != std::errc::no_such_file_or_directory)
    fail_io("cannot read {}: {}", run, error.message());
  return paths;
}

// Never a checkpoint's own name with half of its files: the folder gets another name first.
void remove_checkpoint(const std::string& run, const fs::path& path) {
  const std::string doomed = fmt::format("{}/{}{}", run, kRemoved, path.filename().string());
  std::error_code error;
  fs::rename(path, doomed, error);
  if (error) fail_io("cannot remove {}: {}", path.string(), error.message());
  fs::remove_all(doomed, error);
  if (error) fail_io("cannot remove {}: {}", doomed, error.message());
}

void remove_leftovers(const std::string& run) {
  for (const fs::path& path : entries_of(run)) {
    const std::string name = path.filename().string();
    if (!name.starts_with(kUnfinished) && !name.starts_with(kRemoved)) continue;
    std::error_code error;
    fs::remove_all(path, error);
    if (error) fail_io("cannot remove {}: {}", path.string(), error.message());
  }
}

// Opens one of a checkpoint's tensor files; what is wrong with it is the user's to know, whatever failed.
SafetensorsFile open_part(const std::string& path, const std::string& state_hash) {
  if (!file_exists(path)) fail_user("{}: this file of the checkpoint is missing", path);
  SafetensorsFile file = SafetensorsFile::open(path);
  const auto found = file.metadata().find(kHashKey);
  if (found == file.metadata().end() || found->second != state_hash) {
    fail_user("{}: this file does not belong to the state.json beside it", path);
  }
  return file;
}

}  // namespace

std::string checkpoint_path(const std::string& run, int64_t step) {
  return fmt::format("{}/{}{:08}", run, kPrefix, step);
}

std::string save_checkpoint(const std::string& run, const TrainerState& state,
                            const CheckpointTensors& tensors) {
  std::error_code error;
  fs::create_directories(run, error);
  if (error) fail_io("cannot make the folder {}: {}", run, error.message());
  remove_leftovers(run);
  const std::string target = checkpoint_path(run, state.step);
  const std::string unfinished =
      fmt::format("{}/{}{}", run, kUnfinished, fs::path(target).filename().string());
  fs::create_directory(unfinished, error);
  if (error) fail_io("cannot make the folder {}: {}", unfinished, error.message());
  try {
    const std::string json = json_of(state);
    const TensorMetadata metadata{{kHashKey, hash_of(json)}};
    write_safetensors(unfinished + "/model.safetensors", tensors.model, metadata);
    write_safetensors(unfinished + "/trainer.safetensors", tensors.trainer, metadata);
    write_file(unfinished + "/state.json", json);
    sync_folder(unfinished);
    // A folder that has files cannot be renamed over; the two change places at one stroke.
    const unsigned flags = fs::exists(target) ? RENAME_EXCHANGE : 0;
    if (::renameat2(AT_FDCWD, unfinished.c_str(), AT_FDCWD, target.c_str(), flags) != 0) {
      fail_io("cannot write {}: {}", target, std::strerror(errno));
    }
    sync_folder(run);
  } catch (...) {
    fs::remove_all(unfinished, error);
    throw;
  }
  fs::remove_all(unfinished, error);  // the checkpoint that was replaced, if any
  return target;
}

Checkpoint load_checkpoint(const std::string& path) {
  const std::string state_path = path + "/state.json";
  if (!file_exists(path)) fail_user("{}: there is no such checkpoint", path);
  if (!file_exists(state_path)) fail_user("{}: this file of the checkpoint is missing", state_path);
  const std::string json = read_file(state_path);
  TrainerState state = parse_trainer_state(json, state_path);
  const std::string hash = hash_of(json);
  return {.path = path,
          .state = std::move(state),
          .model = open_part(path + "/model.safetensors", hash),
          .trainer = open_part(path + "/trainer.safetensors", hash)};
}

std::vector<int64_t> checkpoint_steps(const std::string& run) {
  std::vector<int64_t> steps;
  for (const fs::path& path : entries_of(run)) {
    const int64_t step = step_of(path.filename().string());
    if (step >= 0 && fs::is_directory(path)) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::optional<std::string> latest_checkpoint(const std::string& run) {
  const std::vector<int64_t> steps = checkpoint_steps(run);
  if (steps.empty()) return std::nullopt;
  return checkpoint_path(run, steps.back());
}

void link_checkpoint(const std::string& run, const std::string& name, int64_t step) {
  FLOE_CHECK(step_of(name) < 0 && name.find('/') == std::string::npos, "'{}' as the name of a link", name);
  const std::string temporary = fmt::format("{}/{}{}", run, kUnfinished, name);
  const std::string target = fs::path(checkpoint_path(run, step)).filename().string();
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0 ||
      ::rename(temporary.c_str(), (run + "/" + name).c_str()) != 0) {
    fail_io("cannot write the link {}/{}: {}", run, name, std::strerror(errno));
  }
  sync_folder(run);
}

void remove_unlinked(const std::string& run, int64_t step) {
  for (const fs::path& path : entries_of(run)) {
    if (fs::is_symlink(path) && step_of(fs::read_symlink(path).string()) == step) return;
  }
  if (fs::exists(checkpoint_path(run, step))) remove_checkpoint(run, checkpoint_path(run, step));
}

void prune_checkpoints(const std::string& run, int64_t keep) {
  if (keep <= 0) return;
  const std::vector<int64_t> steps = checkpoint_steps(run);
  for (size_t i = 0; i + static_cast<size_t>(keep) < steps.size(); ++i) remove_unlinked(run, steps[i]);
}

std::vector<std::pair<std::string, Tensor>> average_weights(std::span<const std::string> paths,
                                                            std::string_view prefix) {
  if (paths.empty()) fail_user("no model to average");
  std::vector<SafetensorsFile> files;
  for (const std::string& path : paths) files.push_back(SafetensorsFile::open(path));
  for (const SafetensorsFile& file : files) {
    for (const std::string& name : file.names()) {
      if (name.starts_with(prefix) && !files.front().has(name)) {
        fail_user("{}: tensor '{}' is not in {}", file.path(), name, files.front().path());
      }
    }
  }
  std::vector<std::pair<std::string, Tensor>> out;
  std::vector<double> sums;
  for (const std::string& name : files.front().names()) {
    if (!name.starts_with(prefix)) continue;
    Tensor mean = files.front().load(name);
    if (is_float(mean.dtype())) {
      sums.resize(static_cast<size_t>(mean.size()));
      for (int64_t i = 0; i < mean.size(); ++i) sums[static_cast<size_t>(i)] = mean.at(i);
    }
    for (size_t k = 1; k < files.size(); ++k) {
      const SafetensorsFile::Entry& entry = files[k].entry(name);
      if (entry.dtype != mean.dtype() || entry.shape != mean.shape()) {
        fail_user("{}: tensor '{}' is {} {}, in {} it is {} {}", files[k].path(), name, name_of(entry.dtype),
                  text_of(entry.shape), files.front().path(), name_of(mean.dtype()), text_of(mean.shape()));
      }
      const Tensor other = files[k].load(name);
      if (is_float(mean.dtype())) {
        for (int64_t i = 0; i < mean.size(); ++i) sums[static_cast<size_t>(i)] += other.at(i);
      } else if (mean.bytes() > 0 && std::memcmp(mean.data(), other.data(), mean.bytes()) != 0) {
        fail_user("{}: tensor '{}' of type {} differs from that in {}; it has no mean", files[k].path(), name,
                  name_of(mean.dtype()), files.front().path());
      }
    }
    if (is_float(mean.dtype())) {
      for (int64_t i = 0; i < mean.size(); ++i) {
        mean.set(i, sums[static_cast<size_t>(i)] / static_cast<double>(files.size()));
      }
    }
    out.emplace_back(name.substr(prefix.size()), std::move(mean));
  }
  return out;
}

}  // namespace floe
