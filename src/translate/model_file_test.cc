#include "translate/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tensor/safetensors.h"
#include "text/temp_files_for_test.h"
#include "translate/small_models_for_test.h"

namespace floe {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using Json = nlohmann::ordered_json;

struct Folder {
  TempFiles files;
  std::string path = files.path("model");

  std::string file(const std::string& name) const { return path + "/" + name; }
  std::string load_refusal() const {
    return refusal([&] { load_model(path); });
  }
  void edit_config(const std::function<void(Json&)>& edit) const {
    Json json = Json::parse(read_file(file("config.json")));
    edit(json);
    write_file(file("config.json"), json.dump());
  }
  // All tensors of the file, after `edit`, written again.
  void edit_weights(const std::function<void(Weights&)>& edit) const {
    const std::string name = file("model.safetensors");
    Weights weights;
    {
      const SafetensorsFile old = SafetensorsFile::open(name);
      for (const std::string& tensor : old.names()) weights.emplace(tensor, old.load(tensor));
    }
    edit(weights);
    std::vector<NamedTensor> rows;
    for (const auto& [tensor, value] : weights) rows.push_back({tensor, view_of(value)});
    write_safetensors(name, rows);
  }
};

bool same(const Weights& a, const Weights& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, tensor] : a) {
    const auto other = b.find(name);
    if (other == b.end() || other->second.shape() != tensor.shape() ||
        std::memcmp(other->second.data(), tensor.data(), tensor.bytes()) != 0)
      return false;
  }
  return true;
}

TEST(ModelFile, ComesBackAsItWasSaved) {
  const Folder folder;
  ModelFile model = small_model();
  model.config.activation = Activation::gelu;
  model.config.residual_dropout = 0.25;
  model.generation = {.beam = 3, .length_penalty = 0.6, .max_length_ratio = 2, .no_repeat_ngram = 3};
  model.notes = {{"updates", "1000"}, {"data", "Sätze"}};
  model.text.source_ends = false;
  model.text.tags = {"b"};
  save_model(folder.path, model);
  const ModelFile back = load_model(folder.path);
  EXPECT_EQ(back.config, model.config);
  EXPECT_EQ(back.generation, model.generation);
  EXPECT_EQ(back.notes, model.notes);
  EXPECT_TRUE(same(back.weights, model.weights));
  EXPECT_EQ(back.text.tags, model.text.tags);
  EXPECT_FALSE(back.text.source_ends);
  EXPECT_EQ(back.text.source.encode("a d zebra").ids, (std::vector<int32_t>{4, 7, 1}));
  EXPECT_EQ(back.text.target.decode(std::vector<int32_t>{5, 6, 3}), "b c");
  EXPECT_EQ(back.text.max_source, 32);
  EXPECT_EQ(back.text.max_target, 31);
}

TEST(ModelFile, KeepsTheTokenizersBytes) {
  const Folder folder;
  const ModelFile model = small_sentencepiece_model();
  save_model(folder.path, model);
  EXPECT_EQ(read_file(folder.file("tokenizer.model")), model.text.source.tokenizer()->bytes());
  const ModelFile back = load_model(folder.path);
  EXPECT_EQ(back.text.target.tokenizer(), back.text.source.tokenizer());
  EXPECT_EQ(back.text.source.encode("the cat").ids, model.text.source.encode("the cat").ids);
}

TEST(ModelFile, KeepsTwoTokenizersApart) {
  const Folder folder;
  ModelFile model = small_sentencepiece_model();
  model.text.target = small_sentencepiece_model().text.target;
  save_model(folder.path, model);
  EXPECT_TRUE(file_exists(folder.file("source.model")));
  EXPECT_TRUE(file_exists(folder.file("target.model")));
  EXPECT_NE(load_model(folder.path).text.target.tokenizer(), nullptr);
}

TEST(ModelFile, StoresHalfPrecisionAsTheNearestValues) {
  for (const DType store : {DType::f16, DType::bf16}) {
    const Folder folder;
    const ModelFile model = small_model();
    save_model(folder.path, model, store);
    const ModelFile back = load_model(folder.path);
    const auto& [name, before] = *model.weights.begin();
    const Tensor& after = back.weights.at(name);
    for (int64_t i = 0; i < before.size(); ++i) EXPECT_EQ(after.at(i), round_to(store, before.at(i)));
  }
  const Folder folder;
  EXPECT_EQ(refusal([&] { save_model(folder.path, small_model(), DType::i8); }),
            "weights cannot be stored as i8; f32, bf16 and f16 can");
}

TEST(ModelFile, TakesThePlaceOfAnEarlierModelWhole) {
  const Folder folder;
  save_model(folder.path, small_sentencepiece_model());
  save_model(folder.path + "/", small_model(7));
  EXPECT_TRUE(same(load_model(folder.path).weights, small_model(7).weights));
  EXPECT_FALSE(file_exists(folder.file("tokenizer.model")));
  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.files.path("")))
    ++entries;
  EXPECT_EQ(entries, 1u);
}

TEST(ModelFile, LeavesTheEarlierModelWhenSavingFails) {
  const Folder folder;
  save_model(folder.path, small_model(1));
  ModelFile wrong = small_model(2);
  wrong.weights.erase(wrong.weights.begin());
  EXPECT_THAT(refusal([&] { save_model(folder.path, wrong); }), HasSubstr("is missing"));
  EXPECT_TRUE(same(load_model(folder.path).weights, small_model(1).weights));
}

TEST(ModelFile, DoesNotReplaceAFolderThatIsNoModel) {
  const Folder folder;
  std::filesystem::create_directory(folder.path);
  write_file(folder.file("letters.txt"), "dear");
  EXPECT_EQ(refusal([&] { save_model(folder.path, small_model()); }),
            folder.path + " exists and is no model; it is not replaced");
  EXPECT_EQ(read_file(folder.file("letters.txt")), "dear");
}

TEST(ModelFile, SaysWhatIsNotThere) {
  const Folder folder;
  EXPECT_EQ(folder.load_refusal(), "there is no model in " + folder.path + ": no such folder");
  std::filesystem::create_directory(folder.path);
  EXPECT_EQ(folder.load_refusal(),
            "there is no model in " + folder.path + ": neither config.json nor model.bin");
  save_model(folder.path, small_sentencepiece_model());
  std::filesystem::remove(folder.file("tokenizer.model"));
  EXPECT_THAT(folder.load_refusal(), StartsWith("cannot open " + folder.file("tokenizer.model")));
  save_model(folder.path, small_model());
  std::filesystem::remove(folder.file("model.safetensors"));
  EXPECT_THAT(folder.load_refusal(), HasSubstr(folder.file("model.safetensors")));
}

struct ConfigCase {
  std::function<void(Json&)> edit;
  std::string message;  // behind the file's name
};

class WrongConfig : public testing::TestWithParam<ConfigCase> {};

TEST_P(WrongConfig, IsRefusedByItsField) {
  const Folder folder;
  save_model(folder.path, small_model());
  folder.edit_config(GetParam().edit);
  EXPECT_EQ(folder.load_refusal(), folder.file("config.json") + ": " + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    ModelFile, WrongConfig,
    testing::Values(
        ConfigCase{[](Json& j) { j["format_version"] = 2; },
                   "format_version: 2 is newer than 1, the newest that this program reads"},
        ConfigCase{[](Json& j) { j["format_version"] = 0; }, "format_version: there is no version 0"},
        ConfigCase{[](Json& j) { j.erase("format_version"); }, "format_version: this field is missing"},
        ConfigCase{[](Json& j) { j["format_version"] = "1"; },
                   "format_version: must be an integer, not \"1\""},
        ConfigCase{[](Json& j) { j["colour"] = "blue"; }, "colour: there is no such field"},
        ConfigCase{[](Json& j) { j["model"]["widht"] = 8; }, "model.widht: there is no such field"},
        ConfigCase{[](Json& j) { j["model"].erase("d_model"); }, "model.d_model: this field is missing"},
        ConfigCase{[](Json& j) { j["model"]["d_model"] = 8.5; },
                   "model.d_model: must be an integer, not 8.5"},
        ConfigCase{[](Json& j) { j["model"]["d_model"] = 18446744073709551615ULL; },
                   "model.d_model: 18446744073709551615 is too large"},
        ConfigCase{[](Json& j) { j["model"]["pad_id"] = 1LL << 40; },
                   "model.pad_id: 1099511627776 is too large"},
        ConfigCase{[](Json& j) { j["model"]["biases"] = 1; }, "model.biases: must be true or false, not 1"},
        ConfigCase{[](Json& j) { j["model"]["norm_epsilon"] = "x"; },
                   "model.norm_epsilon: must be a number, not \"x\""},
        ConfigCase{[](Json& j) { j["model"]["tied"] = "some"; },
                   "model.tied: unknown tying 'some': there are none, source_target, target_output, all"},
        ConfigCase{[](Json& j) { j["model"]["heads"] = 3; }, "model: heads = 3 does not divide d_model = 8"},
        ConfigCase{[](Json& j) { j["model"] = 3; }, "model must be an object, not 3"},
        ConfigCase{[](Json& j) { j["text"]["split"] = "words"; },
                   "text.split: must be 'spaces' or 'characters', not 'words'"},
        ConfigCase{[](Json& j) { j["text"]["tags"] = {"zz"}; },
                   "text.tags: 'zz' is not in the source vocabulary"},
        ConfigCase{[](Json& j) { j["text"]["tags"] = {1}; }, "text.tags: must be a list of texts, not [1]"},
        ConfigCase{[](Json& j) { j["text"]["source_vocabulary"] = "../v.txt"; },
                   "text.source_vocabulary: must be a file's name, not '../v.txt'"},
        ConfigCase{[](Json& j) { j["generation"]["beam"] = 9; },
                   "generation: beam is 9, but the target vocabulary has only 8 tokens"},
        ConfigCase{[](Json& j) { j["generation"]["speed"] = 9; }, "generation.speed: there is no such field"},
        ConfigCase{[](Json& j) { j["notes"]["updates"] = 3; }, "notes.updates: must be a text, not 3"}));

TEST(ModelFile, RefusesWhatIsNoJson) {
  const Folder folder;
  save_model(folder.path, small_model());
  const std::string text = read_file(folder.file("config.json"));
  for (size_t n = 0; n + 2 < text.size(); n += 7) {
    write_file(folder.file("config.json"), text.substr(0, n));
    EXPECT_THAT(folder.load_refusal(), HasSubstr("not valid JSON")) << n;
  }
  write_file(folder.file("config.json"), "{\n\"format_version\": 1,\n}");
  EXPECT_THAT(folder.load_refusal(), StartsWith(folder.file("config.json") + ":3: not valid JSON"));
}

TEST(ModelFile, RefusesWeightsCutShort) {
  const Folder folder;
  save_model(folder.path, small_model());
  const std::string bytes = read_file(folder.file("model.safetensors"));
  for (size_t n = 0; n < bytes.size(); n += 97) {
    write_file(folder.file("model.safetensors"), bytes.substr(0, n));
    EXPECT_THAT(folder.load_refusal(), HasSubstr("model.safetensors")) << n;
  }
}

TEST(ModelFile, NamesTheTensorThatDoesNotFit) {
  const Folder folder;
  save_model(folder.path, small_model());
  const std::string file = folder.file("model.safetensors");
  const std::string name = "decoder.0.feed_forward.up.weight";
  folder.edit_weights([&](Weights& w) { w[name] = Tensor(DType::f32, {16, 9}); });
  EXPECT_EQ(folder.load_refusal(),
            file + ": tensor '" + name + "' must be a float[16, 8], and is f32[16, 9]");
  folder.edit_weights([&](Weights& w) { w[name] = Tensor(DType::i32, {16, 8}); });
  EXPECT_EQ(folder.load_refusal(),
            file + ": tensor '" + name + "' must be a float[16, 8], and is i32[16, 8]");
  folder.edit_weights([&](Weights& w) { w.erase(name); });
  EXPECT_EQ(folder.load_refusal(), file + ": tensor '" + name + "' is missing");
  folder.edit_weights([&](Weights& w) {
    w[name] = Tensor(DType::f32, {16, 8});
    w["extra.weight"] = Tensor(DType::f32, {1});
  });
  EXPECT_EQ(folder.load_refusal(), file + ": tensor 'extra.weight' has no place in this model");
}

TEST(ModelFile, RefusesAVocabularyThatDoesNotFitTheEmbedding) {
  const Folder folder;
  save_model(folder.path, small_model());
  write_file(folder.file("target_vocabulary.txt"), "<pad>\n<unk>\n<s>\n</s>\na\nb\nc\n");
  EXPECT_EQ(folder.load_refusal(),
            folder.path + ": the target vocabulary has 7 tokens, but its embedding has 8 rows");
  ModelFile model = small_model();
  model.config.target_vocabulary = model.config.source_vocabulary = 9;
  EXPECT_EQ(refusal([&] { save_model(folder.path, model); }),
            folder.path + ": the source vocabulary has 8 tokens, but its embedding has 9 rows");
}

TEST(ModelFile, RefusesATokenizerWithAnotherEnd) {
  const Folder folder;
  ModelFile model = small_sentencepiece_model();
  model.config.eos_id = 1;
  EXPECT_EQ(refusal([&] { save_model(folder.path, model); }),
            folder.path + ": the source tokenizer's end token has id 3, but eos_id is 1");
}

TEST(ModelFile, ReadsACtranslate2Model) {
  const std::string folder = FLOE_SOURCE_DIR "/../shared/data/ct2-aren-transliteration";
  if (!file_exists(folder + "/model.bin")) GTEST_SKIP() << folder << "/model.bin is absent";
  const ModelFile model = load_model(folder);
  EXPECT_EQ(model.config.encoder_layers, 6);
  EXPECT_EQ(model.text.source.size(), 51);
  EXPECT_EQ(model.text.target.size(), 43);
  EXPECT_FALSE(model.text.source_ends);
  EXPECT_EQ(model.text.source.encode("آتز").ids, model.text.source.encode("آ ت ز").ids);
  // The same as a folder of our own.
  const Folder copy;
  save_model(copy.path, model);
  const ModelFile back = load_model(copy.path);
  EXPECT_EQ(back.config, model.config);
  EXPECT_TRUE(same(back.weights, model.weights));
  EXPECT_EQ(back.text.source.encode("آتز").ids, model.text.source.encode("آتز").ids);
}

}  // namespace
}  // namespace floe
