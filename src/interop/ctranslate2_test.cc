#include "interop/ctranslate2.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "interop/ct2_writer_for_test.h"

namespace floe {
namespace {

ModelConfig small_config() {
  ModelConfig c;
  c.d_model = 8;
  c.encoder_layers = 1;
  c.decoder_layers = 2;
  c.heads = c.kv_heads = 2;
  c.d_ff = 12;
  c.source_vocabulary = 6;
  c.target_vocabulary = 7;
  c.norm_placement = NormPlacement::pre;
  c.sinusoid = Sinusoid::opennmt;
  c.max_positions = 1024;
  c.tied = Tied::none;
  c.output_bias = true;
  c.residual_dropout = 0;
  return c;
}

Ct2Writer small_file(bool int8 = false) {
  return write_ct2(small_config(), initial_weights(small_config(), 3), int8);
}

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user) << error.what();
    return error.what();
  }
  return "accepted";
}
std::string parse_refusal(const std::string& bytes) {
  return refusal([&] { parse_ctranslate2(bytes, "model.bin"); });
}
std::string model_refusal(const Ct2Writer& writer) {
  return refusal([&] { model_of(parse_ctranslate2(writer.bytes(), "model.bin"), "model.bin"); });
}

TEST(CTranslate2, GivesBackConfigAndWeights) {
  const Ct2Model model = model_of(parse_ctranslate2(small_file().bytes(), "model.bin"), "model.bin");
  EXPECT_EQ(model.config, small_config());
  const Weights want = initial_weights(small_config(), 3);
  ASSERT_EQ(model.weights.size(), want.size());
  for (const auto& [name, tensor] : want) {
    const Tensor& got = model.weights.at(name);
    ASSERT_EQ(got.shape(), tensor.shape()) << name;
    EXPECT_EQ(std::memcmp(got.data(), tensor.data(), tensor.bytes()), 0) << name;
  }
}

TEST(CTranslate2, DequantizesRowsWithinHalfAStep) {
  const Ct2Model model = model_of(parse_ctranslate2(small_file(true).bytes(), "model.bin"), "model.bin");
  const Weights want = initial_weights(small_config(), 3);
  for (const auto& [name, tensor] : want) {
    const Tensor& got = model.weights.at(name);
    double largest = 0;
    for (int64_t i = 0; i < tensor.size(); ++i) largest = std::max(largest, std::fabs(tensor.at(i)));
    // Half a step of the row is at most half of absmax / 127; the scale's own rounding adds 127 * 2^-24 of a
    // step.
    for (int64_t i = 0; i < tensor.size(); ++i) {
      ASSERT_NEAR(got.at(i), tensor.at(i), 0.501 * largest / 127) << name;
    }
  }
}

TEST(CTranslate2, ReadsEveryVersionAndType) {
  for (uint32_t version = 2; version <= 6; ++version) {
    Ct2Writer writer = small_file();
    writer.version = version;
    const Ct2File file = parse_ctranslate2(writer.bytes(), "model.bin");
    EXPECT_EQ(file.version, static_cast<int>(version));
    EXPECT_EQ(file.spec, "TransformerSpec");
  }
  Ct2Writer writer;
  writer.version = 6;
  writer.entries = {
      {"f16", {2}, 4, raw<uint16_t>({0x3c00, 0xc000})}, {"bf16", {2}, 5, raw<uint16_t>({0x3f80, 0xc000})},
      {"i32", {1}, 3, raw<int32_t>({-70000})},          {"a/weight", {1, 2}, 2, raw<int16_t>({500, -250})},
      {"a/weight_scale", {}, 0, raw<float>({1000})},    {"empty", {0, 3}, 0, ""}};
  writer.aliases = {{"b/weight", "a/weight"}};
  const Ct2File file = parse_ctranslate2(writer.bytes(), "model.bin");
  EXPECT_EQ(file.tensors.at("f16").at(1), -2);
  EXPECT_EQ(file.tensors.at("bf16").at(0), 1);
  EXPECT_EQ(file.tensors.at("i32").dtype(), DType::i32);
  EXPECT_EQ(file.tensors.at("i32").at(0), -70000);
  EXPECT_FLOAT_EQ(static_cast<float>(file.tensors.at("a/weight").at(1)), -0.25f);
  EXPECT_FALSE(file.tensors.contains("a/weight_scale"));
  EXPECT_EQ(file.tensors.at("empty").size(), 0);
  EXPECT_EQ(file.aliases.at("b/weight"), "a/weight");
}

TEST(CTranslate2, RefusesAFileThatEndsAnywhere) {
  for (const bool int8 : {false, true}) {
    const std::string bytes = small_file(int8).bytes();
    for (size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_NE(parse_refusal(bytes.substr(0, size)), "accepted") << size;
    }
  }
  Ct2Writer writer = small_file();
  writer.version = 3;
  writer.aliases = {{"x", "pre_norm"}};
  const std::string bytes = writer.bytes();
  for (size_t size = bytes.size() - 60; size < bytes.size(); ++size) {
    ASSERT_NE(parse_refusal(bytes.substr(0, size)), "accepted") << size;
  }
  EXPECT_EQ(parse_refusal(bytes + "x"), "model.bin: 1 bytes follow after the last entry");
}

TEST(CTranslate2, NamesTheDamagedTensor) {
  const auto one = [](Ct2Entry entry, uint32_t version = 6) {
    Ct2Writer writer;
    writer.version = version;
    writer.entries = {std::move(entry)};
    return writer;
  };
  Ct2Writer writer = one({"w", {2}, 0, raw<float>({1, 2})});
  writer.version = 7;
  EXPECT_EQ(parse_refusal(writer.bytes()),
            "model.bin: binary version 7 of CTranslate2's format; Floe reads 2 to 6");
  writer.version = 1;
  EXPECT_EQ(parse_refusal(writer.bytes()),
            "model.bin: binary version 1 of CTranslate2's format; Floe reads 2 to 6");
  EXPECT_EQ(parse_refusal(one({"w", {2}, 9, raw<float>({1, 2})}).bytes()),
            "model.bin: tensor 'w' has the unknown type 9");
  EXPECT_EQ(parse_refusal(one({"w", {3}, 0, raw<float>({1, 2})}).bytes()),
            "model.bin: tensor 'w' of dims [3] takes 12 bytes, the file says 8");
  EXPECT_EQ(parse_refusal(one({"w", {1, 1, 1, 1, 1}, 0, raw<float>({1})}).bytes()),
            "model.bin: tensor 'w' has rank 5; at most 4 is known");
  // 2^32 - 1 to the fourth power is far beyond 64 bits.
  EXPECT_THAT(parse_refusal(one({"w", {~0u, ~0u, ~0u, ~0u}, 0, raw<float>({1, 2})}).bytes()),
              testing::StartsWith("model.bin: tensor 'w' is larger than what is left of the file"));
  EXPECT_EQ(parse_refusal(one({"w/weight", {2, 1}, 1, raw<int8_t>({1, 2})}).bytes()),
            "model.bin: tensor 'w/weight' is quantized but 'w/weight_scale' is missing");

  writer = one({"w", {1}, 0, raw<float>({1})});
  writer.entries.push_back(writer.entries[0]);
  EXPECT_EQ(parse_refusal(writer.bytes()), "model.bin: tensor 'w' is given twice");
  writer.entries.pop_back();
  writer.aliases = {{"a", "v"}};
  EXPECT_EQ(parse_refusal(writer.bytes()), "model.bin: alias 'a' names the unknown tensor 'v'");
  writer.aliases = {{"a", "w"}, {"a", "w"}};
  EXPECT_EQ(parse_refusal(writer.bytes()), "model.bin: tensor 'a' is given twice");

  writer = one({"w/weight", {2, 1}, 1, raw<int8_t>({1, 2})});
  writer.entries.push_back({"w/weight_scale", {3}, 0, raw<float>({1, 1, 1})});
  EXPECT_EQ(parse_refusal(writer.bytes()), "model.bin: tensor 'w/weight' has 2 rows, its scales are [3]");
  writer.entries[1] = {"w/weight_scale", {2}, 0, raw<float>({1, 0})};
  EXPECT_EQ(parse_refusal(writer.bytes()), "model.bin: tensor 'w/weight' has the scale 0 in row 1");
  writer.entries[1] = {"w/weight_scale", {2}, 3, raw<int32_t>({1, 1})};
  EXPECT_EQ(parse_refusal(writer.bytes()), "model.bin: tensor 'w/weight_scale' must be floating");

  writer = one({"w", {3}, 0, ""}, 3);
  std::string bytes = writer.bytes();
  bytes[bytes.find('w') + 7] = 3;  // after name, NUL, rank and dims: bytes an item
  EXPECT_EQ(parse_refusal(bytes), "model.bin: tensor 'w' has items of 3 bytes; known are 1, 2 and 4");
  bytes = writer.bytes();
  bytes[bytes.find('w') + 1] = 'w';  // its NUL
  EXPECT_THAT(parse_refusal(bytes), testing::EndsWith("does not end with its only NUL"));
}

TEST(CTranslate2, RefusesWhatItWouldOtherwiseLeaveOut) {
  const auto with = [](const std::function<void(Ct2Writer&)>& change) {
    Ct2Writer writer = small_file();
    change(writer);
    return model_refusal(writer);
  };
  EXPECT_EQ(with([](Ct2Writer& w) { w.spec = "WhisperSpec"; }),
            "model.bin: a model of kind 'WhisperSpec'; Floe reads encoder-decoder Transformers");
  EXPECT_EQ(with([](Ct2Writer& w) {
              w.floats("encoder/layer_0/self_attention/relative_position_keys", Tensor(DType::f32, {3, 4}));
            }),
            "model.bin: 'encoder/layer_0/self_attention/relative_position_keys' has no place in the models "
            "that Floe "
            "knows");
  EXPECT_EQ(with([](Ct2Writer& w) { w.flag("decoder/alibi", 1); }),
            "model.bin: attention with linear biases (ALiBi) is not known to Floe");
  EXPECT_EQ(with([](Ct2Writer& w) { w.flag("decoder/start_from_zero_embedding", 1); }),
            "model.bin: the decoder starts from a zero vector; Floe has no such start");
  EXPECT_EQ(with([](Ct2Writer& w) { w.flag("activation", 5); }),
            "model.bin: activation 5 is not known to Floe");
  EXPECT_EQ(with([](Ct2Writer& w) { w.entry("num_heads").data = raw<int8_t>({0}); }),
            "model.bin: 'num_heads' = 0 must be at least 1");
  EXPECT_EQ(with([](Ct2Writer& w) { w.entry("num_heads").data = raw<int8_t>({3}); }),
            "model.bin: 3 heads do not divide the width 8");
  EXPECT_EQ(with([](Ct2Writer& w) { w.flag("encoder/num_heads", 4); }),
            "model.bin: 'num_heads' differs between encoder and decoder: 2 and 4");
  EXPECT_EQ(with([](Ct2Writer& w) { w.entry("decoder/layer_1/ffn/linear_1/bias").name = "elsewhere"; }),
            "model.bin: tensor 'decoder/layer_1/ffn/linear_1/bias' is missing");
  EXPECT_EQ(with([](Ct2Writer& w) {
              w.entry("decoder/layer_1/ffn/linear_1/bias") = {
                  "decoder/layer_1/ffn/linear_1/bias", {1}, 0, raw<float>({0})};
            }),
            "model.bin: tensor 'decoder.1.feed_forward.down.bias' must be f32[8], got f32[1]");
  EXPECT_EQ(with([](Ct2Writer& w) {
              w.entries.push_back({"encoder/scale_embeddings", {}, 0, raw<float>({2})});
            }).substr(0, 43),
            "model.bin: embeddings are scaled by 2; Floe");
  EXPECT_EQ(with([](Ct2Writer&) {}), "accepted");
}

TEST(CTranslate2, SharesWhatTheFileShares) {
  Ct2Writer writer = small_file();
  writer.version = 6;
  std::erase_if(writer.entries, [](const Ct2Entry& e) { return e.name == "decoder/projection/weight"; });
  writer.aliases = {{"decoder/projection/weight", "decoder/embeddings/weight"}};
  const Ct2Model model = model_of(parse_ctranslate2(writer.bytes(), "model.bin"), "model.bin");
  EXPECT_EQ(model.config.tied, Tied::target_output);
  EXPECT_FALSE(model.weights.contains("output.weight"));
}

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "floe_ct2_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  void put(const std::string& name, std::string_view text) const { write_file(path_ + "/" + name, text); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(CTranslate2, FolderAddsTheUnknownTokenAtTheEnd) {
  Folder folder;
  folder.put("model.bin", small_file().bytes());
  folder.put("source_vocabulary.txt", "<blank>\n<s>\n</s>\na\nb\n");
  folder.put("target_vocabulary.txt", "<blank>\n<s>\n</s>\nx\ny\nz\n<unk>\n");
  const Ct2Folder loaded = load_ctranslate2(folder.path());
  EXPECT_EQ(loaded.source.size(), 6u);
  EXPECT_EQ(loaded.source.id("never seen"), 5);
  EXPECT_EQ(loaded.target.id("z"), 5);
  EXPECT_EQ(loaded.model.config.pad_id, 0);
  EXPECT_EQ(loaded.model.config.start_id, 1);
  EXPECT_EQ(loaded.model.config.eos_id, 2);
  folder.put("target_vocabulary.txt", "<blank>\n<s>\n</s>\nx\n");
  EXPECT_EQ(refusal([&] { load_ctranslate2(folder.path()); }),
            folder.path() + "/target_vocabulary.txt has 4 tokens, the model's embedding has 7 rows");
  folder.put("target_vocabulary.txt", "<blank>\n<s>\nend\nx\ny\nz\n");
  EXPECT_EQ(refusal([&] { load_ctranslate2(folder.path()); }),
            folder.path() + "/target_vocabulary.txt has no token \"</s>\"");
}

}  // namespace
}  // namespace floe
