// Writes a model's folder (model_file.h) beside its place, then puts it there whole.
#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "tensor/quantize.h"
#include "tensor/safetensors.h"
#include "translate/json_reader.h"
#include "translate/model_fields.h"

namespace floe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string vocabulary_text(const Vocabulary& vocabulary) {
  std::string text;
  for (size_t i = 0; i < vocabulary.size(); ++i) text += vocabulary.token(static_cast<int32_t>(i)) + "\n";
  return text;
}

// Writes the side's file and gives its key in config.json.
void write_side(const TextCodec& codec, const std::string& side, const fs::path& folder, Json& json) {
  if (const Tokenizer* tokenizer = codec.tokenizer()) {
    const char* name = side == "source" ? kSourceTokenizerFile : kTargetTokenizerFile;
    write_file(folder / name, tokenizer->bytes());
    json[side + "_tokenizer"] = name;
    return;
  }
  const Vocabulary& vocabulary = *codec.vocabulary();
  const char* name = side == "source" ? kSourceVocabularyFile : kTargetVocabularyFile;
  write_file(folder / name, vocabulary_text(vocabulary));
  json[side + "_vocabulary"] = name;
  json["split"] = codec.split() == TokenSplit::spaces ? "spaces" : "characters";
  json["unknown"] = vocabulary.unknown_id() ? vocabulary.token(*vocabulary.unknown_id()) : "";
}

Json text_json(const ModelText& text, const fs::path& folder) {
  Json json;
  if (text.source.tokenizer() != nullptr && text.source.tokenizer() == text.target.tokenizer()) {
    write_file(folder / kTokenizerFile, text.source.tokenizer()->bytes());
    json["tokenizer"] = kTokenizerFile;
  } else {
    write_side(text.source, "source", folder, json);
    write_side(text.target, "target", folder, json);
  }
  json["source_ends"] = text.source_ends;
  json["tags"] = text.tags;
  return json;
}

Json config_json(const ModelFile& model, const fs::path& folder) {
  Json json;
  json["format_version"] = kModelFormatVersion;
  each_model_field(model.config, [&](const char* name, const auto& member) {
    if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(member)>>) {
      json["model"][name] = name_of(member);
    } else {
      json["model"][name] = member;
    }
  });
  json["text"] = text_json(model.text, folder);
  each_generation_field(model.generation,
                        [&](const char* name, const auto& member) { json["generation"][name] = member; });
  json["notes"] = model.notes;
  return json;
}

void write_weights(const fs::path& path, const ModelFile& model, DType store) {
  std::vector<Tensor> narrow;
  std::vector<NamedTensor> rows;
  for (const WeightSpec& spec : weight_table(model.config)) {
    if (!spec.trainable) continue;
    const Tensor& tensor = model.weights.find(spec.name)->second;
    if (tensor.dtype() == DType::i8) {
      for (const std::string& name : {spec.name, scale_name(spec.name), input_scale_name(spec.name)}) {
        const auto found = model.weights.find(name);
        if (found != model.weights.end()) rows.push_back({name, view_of(found->second)});
      }
      continue;
    }
    if (store == DType::f32) {
      rows.push_back({spec.name, view_of(tensor)});
      continue;
    }
    Tensor copy(store, tensor.shape());
    for (int64_t i = 0; i < tensor.size(); ++i) copy.set(i, tensor.at(i));
    rows.push_back({spec.name, view_of(copy)});
    narrow.push_back(std::move(copy));  // the view's memory moves along
  }
  write_safetensors(path, rows);
}

// Gone with its owner unless it was moved to its place.
struct TemporaryFolder {
  explicit TemporaryFolder(const std::string& target) : path(temporary_name(target)) {
    std::error_code error;
    if (!fs::create_directories(path, error)) fail_io("cannot create {}: {}", target, error.message());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  fs::path path;
};

// Afterwards `from` holds what was at `to` before, if anything was.
void put_in_place(const fs::path& from, const fs::path& to) {
  if (!fs::exists(to)) {
    if (std::rename(from.c_str(), to.c_str()) != 0)
      fail_io("cannot write {}: {}", to.string(), std::strerror(errno));
  } else if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
    fail_io("cannot replace {}: {}", to.string(), std::strerror(errno));
  }
  sync_folder(folder_of(to.string()));
}

}  // namespace

void save_model(const std::string& folder, const ModelFile& model, DType store) {
  if (store != DType::f32 && store != DType::bf16 && store != DType::f16)
    fail_user("weights cannot be stored as {}; f32, bf16 and f16 can", name_of(store));
  std::string target = folder;
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  model.config.validate();
  check_text(model.text, model.config, target);
  check_weights(model.config, model.weights, target);
  if (fs::exists(target) && !fs::exists(fs::path(target) / kConfigFile) &&
      !(fs::is_directory(target) && fs::is_empty(target)))
    fail_user("{} exists and is no model; it is not replaced", target);
  const TemporaryFolder temporary(target);
  const Json json = config_json(model, temporary.path);
  write_weights(temporary.path / kWeightsFile, model, store);
  write_file(temporary.path / kConfigFile, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  put_in_place(temporary.path, target);
}

}  // namespace floe
