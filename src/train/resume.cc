#include "train/resume.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace floe {
namespace {

using Effect = OptionRow::Effect;

// Options of this kind that the run's own record says were others; empty when it does not tell.
std::string changed(const TrainOptions& options, Effect effect) {
  const std::string path = options.output + "/options.toml";
  if (!file_exists(path)) return {};
  TrainOptions before;
  read_options(read_file(path), path, &before);
  const std::string names = differences(before, options, effect);
  return names.empty() ? names : ": " + names;
}

}  // namespace

std::string options_hash(const TrainOptions& options) {
  return hash_of(options, Effect::numbers) + "/" + hash_of(options, Effect::schedule);
}

void check_same_run(const TrainOptions& options, const Checkpoint& checkpoint, uint64_t batches_fingerprint) {
  const std::string& hash = checkpoint.state.options_hash;
  const size_t cut = hash.find('/');
  if (cut == std::string::npos)
    fail_user("{}/state.json: options_hash '{}' has one part", checkpoint.path, hash);
  if (hash.substr(0, cut) != hash_of(options, Effect::numbers)) {
    fail_user("{} was made with other options{}; a run with these needs another folder", checkpoint.path,
              changed(options, Effect::numbers));
  }
  if (hash.substr(cut + 1) != hash_of(options, Effect::schedule) && !options.override_schedule) {
    fail_user(
        "{} was made with another learning-rate schedule{}; give override_schedule to go on with the new one",
        checkpoint.path, changed(options, Effect::schedule));
  }
  if (checkpoint.state.batches_fingerprint != batches_fingerprint) {
    fail_user("{}: the text to train on has changed since, so the place in its epoch means nothing",
              checkpoint.path);
  }
}

std::vector<std::string> checkpointed(const State& state, const std::string& weight) {
  std::vector<std::string> names;
  for (const char* kind : {"", "adam.m.", "adam.v.", "ema."}) {
    if (state.has(kind + weight)) names.push_back(kind + weight);
  }
  return names;
}

void load_tensors(const Checkpoint& checkpoint, const std::vector<std::string>& weights, State* state) {
  std::vector<std::string> wanted;
  for (const std::string& weight : weights) {
    for (std::string& name : checkpointed(*state, weight)) wanted.push_back(std::move(name));
  }
  for (const SafetensorsFile* file : {&checkpoint.model, &checkpoint.trainer}) {
    for (const std::string& name : file->names()) {
      Tensor tensor = file->load(name);
      const auto place = std::find(wanted.begin(), wanted.end(), name);
      if (place == wanted.end() || state->view(name).shape() != tensor.shape() ||
          state->view(name).dtype != tensor.dtype()) {
        fail_user("{}: tensor '{}' has no place in this run", file->path(), name);
      }
      state->set(name, std::move(tensor));
      wanted.erase(place);
    }
  }
  if (!wanted.empty()) fail_user("{}: tensor '{}' is missing", checkpoint.path, wanted.front());
}

}  // namespace floe
