// Sizes of a real user: a vocabulary of 64,000 pieces, sources of 512 tokens, beam 4; on a GPU 4,096
// sentences in one call, on the CPU a dozen.
#include <gtest/gtest.h>

#include <random>

#include "nn/weights.h"
#include "testing/test_device.h"
#include "translate/engine.h"
#include "translate/model_session.h"

namespace floe {
namespace {

constexpr int64_t kVocabulary = 64000, kLength = 512, kBeam = 4, kTarget = 12;

size_t sentences() { return test_device_kind() == DeviceKind::cpu ? 12 : 4096; }

ModelConfig tiny() {
  ModelConfig config;
  config.d_model = 32;
  config.d_ff = 64;
  config.heads = config.kv_heads = 2;
  config.encoder_layers = config.decoder_layers = 1;
  config.source_vocabulary = config.target_vocabulary = kVocabulary;
  config.max_positions = kLength;
  config.pad_id = 0;
  config.start_id = 2;
  config.eos_id = 3;
  return config;
}

SearchOptions search() {
  SearchOptions options;
  options.beam = kBeam;
  options.max_length = kTarget;
  options.ends = {3};
  return options;
}

std::vector<SequenceRow> rows() {
  std::mt19937 random(3);
  std::vector<SequenceRow> list(sentences());
  for (size_t i = 0; i < list.size(); ++i) {
    list[i].source.resize(static_cast<size_t>(kLength));
    for (int32_t& id : list[i].source) id = static_cast<int32_t>(4 + random() % (kVocabulary - 4));
    list[i].ordinal = i;
  }
  return list;
}

TEST(SizesOfARealUser, AreDecodedInOneStepAsAlone) {
  const auto device = open_test_device();
  State state(device.get());
  for (auto& [name, weight] : initial_weights(tiny(), 1)) state.set(name, std::move(weight));
  const auto n = static_cast<int64_t>(sentences());
  DecodeEngineOptions options;  // room for all of them at once: logits of 16,384 rows are 4.2 GB
  options.max_rows = n * kBeam;
  options.cache_positions = n * kBeam * kTarget;
  options.source_positions = n * kLength;
  options.max_target = kTarget;
  DecodeEngine engine(tiny(), state, test_kernels(), *device, options);
  const std::vector<SequenceRow> all = rows();
  const auto together = engine.decode(all, search(), {});
  ASSERT_EQ(together.size(), all.size());
  for (const size_t i : {size_t{0}, all.size() / 3, all.size() / 2, all.size() - 1}) {
    const auto alone = engine.decode(std::span(all).subspan(i, 1), search(), {});
    ASSERT_EQ(alone[0].size(), together[i].size()) << i;
    EXPECT_EQ(alone[0][0].tokens, together[i][0].tokens) << i;
    EXPECT_EQ(alone[0][0].log_prob, together[i][0].log_prob) << i;  // the same bits
  }
}

TEST(SizesOfARealUser, AreTranslatedInOneCall) {
  std::vector<std::string> tokens = {"<pad>", "<unk>", "<s>", "</s>"};
  for (int64_t i = 4; i < kVocabulary; ++i) tokens.push_back(fmt::format("t{}", i));
  const TextCodec codec(Vocabulary(tokens, "tokens", "<unk>"), TokenSplit::spaces, {0, 2, 3});
  ModelFile model{
      .config = tiny(), .weights = initial_weights(tiny(), 1), .text = {.source = codec, .target = codec}};
  apply_config(tiny(), &model.text);
  std::vector<std::string> lines;
  for (const SequenceRow& row : rows()) {
    std::string line;
    for (size_t i = 0; i + 1 < row.source.size(); ++i) line += fmt::format("t{} ", row.source[i]);
    lines.push_back(line);
  }
  const auto device = open_test_device();
  ModelSession session(std::move(model), *device, {.beam = kBeam});
  TranslatorOptions options;
  options.search = search();
  options.batch_tokens = 64 * kLength * kBeam;
  Translator translator = session.translator(options, [](const std::string& w) { ADD_FAILURE() << w; });
  const std::vector<Translation> out = translator.translate(lines);
  ASSERT_EQ(out.size(), lines.size());
  for (const size_t i : {size_t{0}, lines.size() / 2, lines.size() - 1}) {
    const std::vector<Translation> alone = translator.translate(std::span(lines).subspan(i, 1));
    EXPECT_EQ(alone[0].text(), out[i].text()) << i;
    EXPECT_EQ(alone[0].candidates[0].log_probability, out[i].candidates[0].log_probability) << i;
  }
}

}  // namespace
}  // namespace floe
