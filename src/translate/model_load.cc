// Reads a model's folder (model_file.h); every field and size is checked, for the files may come from
// anywhere.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <type_traits>

#include "base/error.h"
#include "base/file.h"
#include "interop/ctranslate2.h"
#include "tensor/quantize.h"
#include "tensor/safetensors.h"
#include "translate/json_reader.h"
#include "translate/model_fields.h"
#include "translate/options_check.h"

namespace floe {
namespace {

std::string inside(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

// The file that a field names. A name with a path would let a model read files outside of its folder.
std::string file_named(JsonReader& reader, const std::string& key, const std::string& folder) {
  std::string name;
  reader.read(key, name);
  if (name.empty() || std::filesystem::path(name).filename() != name || name == "." || name == "..")
    reader.refuse(key, fmt::format("must be a file's name, not '{}'", name));
  return inside(folder, name);
}

ModelConfig read_config(JsonReader reader, const std::string& file) {
  ModelConfig config;
  each_model_field(config, [&](std::string_view name, auto& member) {
    using Member = std::remove_reference_t<decltype(member)>;
    if constexpr (std::is_enum_v<Member>) {
      std::string text;
      reader.read(name, text);
      try {
        parse(text, &member);
      } catch (const Error& error) {
        reader.refuse(name, error.what());
      }
    } else {
      reader.read(name, member);
    }
  });
  reader.finish();
  try {
    config.validate();
  } catch (const Error& error) {
    fail_user("{}: {}", file, error.what());
  }
  return config;
}

TextCodec read_side(JsonReader& reader, const std::string& side, const std::string& folder,
                    const ModelConfig& config) {
  if (reader.has("tokenizer")) return TextCodec(Tokenizer::load(file_named(reader, "tokenizer", folder)));
  const std::string key = side + "_tokenizer";
  if (reader.has(key)) return TextCodec(Tokenizer::load(file_named(reader, key, folder)));
  const std::string path = file_named(reader, side + "_vocabulary", folder);
  std::string split, unknown;
  reader.read("split", split);
  if (split != "spaces" && split != "characters")
    reader.refuse("split", fmt::format("must be 'spaces' or 'characters', not '{}'", split));
  reader.read("unknown", unknown);
  return {Vocabulary::load(path, unknown.empty() ? std::nullopt : std::optional(unknown)),
          split == "spaces" ? TokenSplit::spaces : TokenSplit::characters,
          {config.pad_id, config.start_id, config.eos_id}};
}

ModelText read_text(JsonReader reader, const std::string& folder, const ModelConfig& config) {
  const TextCodec source = read_side(reader, "source", folder, config);
  ModelText text{.source = source,
                 .target = reader.has("tokenizer") ? source : read_side(reader, "target", folder, config)};
  reader.read("source_ends", text.source_ends);
  reader.read("tags", text.tags);
  reader.finish();
  for (const std::string& tag : text.tags) {
    if (text.source.find(tag) < 0)
      reader.refuse("tags", fmt::format("'{}' is not in the source vocabulary", tag));
  }
  return text;
}

void check_entry(const SafetensorsFile& file, const std::string& name, const Shape& dims, bool fits,
                 const char* wanted) {
  const auto& entry = file.entry(name);
  if (!fits || entry.shape != dims)
    fail_user("{}: tensor '{}' must be {}{}, and is {}{}", file.path(), name, wanted, text_of(dims),
              name_of(entry.dtype), text_of(entry.shape));
}

// Scales must be usable: what they multiply and divide stays finite.
Tensor read_scales(const SafetensorsFile& file, const std::string& name, const Shape& dims) {
  if (!file.has(name)) fail_user("{}: tensor '{}' is missing", file.path(), name);
  check_entry(file, name, dims, file.entry(name).dtype == DType::f32, "f32");
  Tensor scales = file.load(name);
  for (int64_t i = 0; i < scales.size(); ++i) {
    const float scale = scales.as<float>()[i];
    if (!(scale >= kLeastScale && std::isfinite(scale)))
      fail_user("{}: tensor '{}' holds {}, which is no scale", file.path(), name, scale);
  }
  return scales;
}

Tensor read_codes(const SafetensorsFile& file, const std::string& name, const Shape& dims) {
  check_entry(file, name, dims, file.entry(name).dtype == DType::i8, "i8");
  Tensor codes = file.load(name);
  const int8_t* at = codes.as<int8_t>();
  if (std::find(at, at + codes.size(), int8_t{-128}) != at + codes.size())
    fail_user("{}: tensor '{}' holds -128, which is no code", file.path(), name);
  return codes;
}

// Names, dims and types are compared before a tensor's memory is taken.
Weights read_weights(const std::string& path, const ModelConfig& config) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  Weights weights;
  for (const WeightSpec& spec : weight_table(config)) {
    if (!spec.trainable) continue;
    if (!file.has(spec.name)) fail_user("{}: tensor '{}' is missing", path, spec.name);
    const DType stored = file.entry(spec.name).dtype;
    if (spec.may_quantize && stored == DType::i8) {
      weights.emplace(spec.name, read_codes(file, spec.name, spec.dims));
      weights.emplace(scale_name(spec.name), read_scales(file, scale_name(spec.name), {spec.dims[0], 1}));
      if (const std::string name = input_scale_name(spec.name); file.has(name))
        weights.emplace(name, read_scales(file, name, {}));
      continue;
    }
    check_entry(file, spec.name, spec.dims,
                stored == DType::f32 || stored == DType::bf16 || stored == DType::f16, "a float");
    Tensor tensor = file.load(spec.name);
    if (tensor.dtype() != DType::f32) {
      Tensor wide(DType::f32, tensor.shape());
      for (int64_t i = 0; i < tensor.size(); ++i) wide.set(i, tensor.at(i));
      tensor = std::move(wide);
    }
    weights.emplace(spec.name, std::move(tensor));
  }
  for (const std::string& name : file.names()) {
    if (!weights.contains(name)) fail_user("{}: tensor '{}' has no place in this model", path, name);
  }
  add_made_weights(config, &weights);
  return weights;
}

ModelFile load_ctranslate2_model(const std::string& folder) {
  Ct2Folder read = load_ctranslate2(folder);
  const ModelConfig& config = read.model.config;
  const auto codec = [&](const Vocabulary& vocabulary) {
    std::vector<std::string> tokens;
    for (size_t i = 0; i < vocabulary.size(); ++i)
      tokens.push_back(vocabulary.token(static_cast<int32_t>(i)));
    const TokenSplit split = TextCodec::split_for(tokens);
    return TextCodec(vocabulary, split, {config.pad_id, config.start_id, config.eos_id});
  };
  // Such a model is given the tokens of its source as they are.
  ModelFile out{.config = config,
                .weights = std::move(read.model.weights),
                .text = {.source = codec(read.source), .target = codec(read.target), .source_ends = false}};
  apply_config(out.config, &out.text);
  check_text(out.text, out.config, folder);
  return out;
}

}  // namespace

void apply_config(const ModelConfig& config, ModelText* text) {
  text->eos_id = config.eos_id;
  text->silent.clear();
  for (const int32_t id : {config.pad_id, config.start_id}) {
    if (id != config.eos_id) text->silent.push_back(id);
  }
  text->max_source = config.max_positions;
  text->max_target = config.max_positions - 1;  // the start token takes a position
}

TranslatorOptions options_of(const GenerationDefaults& generation) {
  TranslatorOptions options;
  options.search.beam = generation.beam;
  options.search.length_penalty.alpha = generation.length_penalty;
  options.search.repetition_penalty = generation.repetition_penalty;
  options.search.no_repeat_ngram = generation.no_repeat_ngram;
  options.search.max_length_ratio = generation.max_length_ratio;
  return options;
}

void check_text(const ModelText& text, const ModelConfig& config, const std::string& folder) {
  const auto check_side = [&](const char* side, const TextCodec& codec, int64_t rows) {
    if (codec.size() != rows)
      fail_user("{}: the {} vocabulary has {} tokens, but its embedding has {} rows", folder, side,
                codec.size(), rows);
    const Tokenizer* tokenizer = codec.tokenizer();
    if (tokenizer != nullptr && tokenizer->eos_id() >= 0 && tokenizer->eos_id() != config.eos_id)
      fail_user("{}: the {} tokenizer's end token has id {}, but eos_id is {}", folder, side,
                tokenizer->eos_id(), config.eos_id);
  };
  if (config.has_encoder()) check_side("source", text.source, config.source_vocabulary);
  check_side("target", text.target, config.target_vocabulary);
}

ModelFile load_model(const std::string& folder) {
  if (!std::filesystem::is_directory(folder)) fail_io("there is no model in {}: no such folder", folder);
  const std::string file = inside(folder, kConfigFile);
  if (!file_exists(file)) {
    if (file_exists(inside(folder, "model.bin"))) return load_ctranslate2_model(folder);
    fail_io("there is no model in {}: neither {} nor model.bin", folder, kConfigFile);
  }
  const nlohmann::json json = parse_json(read_file(file), file);
  JsonReader reader(json, file);
  int64_t version = 0;
  reader.read("format_version", version);
  if (version != kModelFormatVersion)
    reader.refuse("format_version",
                  version > kModelFormatVersion
                      ? fmt::format("{} is newer than {}, the newest that this program reads", version,
                                    kModelFormatVersion)
                      : fmt::format("there is no version {}", version));
  const ModelConfig config = read_config(reader.object("model"), file);
  ModelFile out{.config = config, .text = read_text(reader.object("text"), folder, config)};
  JsonReader generation = reader.object("generation");
  each_generation_field(out.generation,
                        [&](std::string_view name, auto& member) { generation.read(name, member); });
  generation.finish();
  JsonReader notes = reader.object("notes");
  for (const auto& [key, value] : notes.json().items()) notes.read(key, out.notes[key]);
  reader.finish();
  apply_config(out.config, &out.text);
  check_text(out.text, out.config, folder);
  try {
    TranslatorOptions options = options_of(out.generation);
    options.search.ends = {out.text.eos_id};
    check_options(out.text, options);
  } catch (const Error& error) {
    fail_user("{}: generation: {}", file, error.what());
  }
  out.weights = read_weights(inside(folder, kWeightsFile), config);
  return out;
}

}  // namespace floe
