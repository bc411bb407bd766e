#include "train/validator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/temp_folder_for_test.h"
#include "nn/weights.h"
#include "testing/op_case.h"
#include "train/setup.h"

namespace floe {
namespace {

using testing::HasSubstr;

struct Fixture {
  TempFolder folder;
  TrainOptions options;
  std::unique_ptr<Device> device = open_test_device(1);
  std::vector<std::string> notes;
  TrainTokenizers tokenizers;
  ModelConfig config;
  State state{device.get()};

  Fixture() {
    std::string lines;
    for (int i = 0; i < 20; ++i) lines += "a small green house\nthe house is small\n";
    write_file(folder.file("text"), lines);
    options.train_source = options.train_target = {folder.file("text")};
    options.output = folder.path();
    options.vocabulary_size = 22;
    options.model = {.d_model = 8,
                     .encoder_layers = 1,
                     .decoder_layers = 1,
                     .heads = 2,
                     .kv_heads = 2,
                     .d_ff = 16,
                     .max_positions = 21};
    options.batch.max_length = 16;
    valid("a house\n", "the house\n");
    tokenizers = prepare_tokenizers(options, [](const std::string&) {});
    config = model_config(options, tokenizers, nullptr);
    fill("", 1);
  }
  void valid(const std::string& source, const std::string& target) {
    write_file(options.valid_source = folder.file("v.src"), source);
    write_file(options.valid_target = folder.file("v.tgt"), target);
  }
  void fill(const std::string& prefix, uint32_t seed) {
    for (auto& [name, tensor] : initial_weights(config, seed)) state.set(prefix + name, std::move(tensor));
  }
  std::unique_ptr<Validator> make() {
    return std::make_unique<Validator>(options, config, tokenizers, test_kernels(), *device,
                                       [this](const std::string& note) { notes.push_back(note); });
  }
};

TEST(Validator, TakesTheAveragedWeightsWhereThereAreAny) {
  Fixture f;
  const auto validator = f.make();
  validator->take(f.state, "ema.");
  const auto plain = validator->run();
  f.fill("ema.", 2);
  validator->take(f.state, "");
  EXPECT_EQ(validator->run(), plain);
  validator->take(f.state, "ema.");
  EXPECT_NE(validator->run(), plain);
  const std::string name = "decoder.0.feed_forward.up.weight";
  EXPECT_EQ(validator->model().weights.find(name)->second.at(3), f.state.get("ema." + name).at(3));
  // A copy: what training does next is not seen.
  change_state(f.state, "ema." + name, [](Tensor& t) { t.as<float>()[3] += 1; });
  EXPECT_NE(validator->model().weights.find(name)->second.at(3), f.state.get("ema." + name).at(3));
}

TEST(Validator, GivesTheMetricsThatAreNamed) {
  Fixture f;
  const auto names = [&](std::vector<std::string> metrics) {
    f.options.metrics = std::move(metrics);
    const auto validator = f.make();
    validator->take(f.state, "");
    std::vector<std::string> out;
    for (const auto& [name, value] : validator->run()) out.push_back(name);
    return out;
  };
  EXPECT_EQ(names({"perplexity"}), (std::vector<std::string>{"cross_entropy", "perplexity"}));
  EXPECT_EQ(names({"chrf"}), (std::vector<std::string>{"cross_entropy", "perplexity", "chrf"}));
}

TEST(Validator, CountsABlankPairInNoLoss) {
  Fixture f;
  const auto loss = [&] {
    const auto validator = f.make();
    validator->take(f.state, "");
    return validator->run().front().second;
  };
  const double alone = loss();
  f.valid("\na house\n\n", "a\nthe house\n \n");
  // A GPU may take another product for another number of rows: the same sum in another order.
  EXPECT_NEAR(loss(), alone, 1e-6 * alone);
  f.valid("\n", "a\n");
  EXPECT_THAT(refusal(ErrorKind::user, [&] { f.make(); }), HasSubstr("v.src: no line to validate on"));
}

TEST(Validator, CutsALineThatIsTooLongAndSaysSoOnce) {
  Fixture f;
  f.options.metrics = {"bleu"};
  std::string line = "house";
  for (int i = 0; i < 40; ++i) line += " house";
  f.valid("a house\n" + line + "\n", "a house\n" + line + "\n");
  const auto validator = f.make();
  validator->take(f.state, "");
  const auto values = validator->run();
  EXPECT_TRUE(std::isfinite(values.front().second));
  EXPECT_EQ(validator->run(), values);
  EXPECT_THAT(f.notes, testing::ElementsAre(HasSubstr("v.src: line 2 has ")));
}

TEST(Validator, GivesNaNForWeightsThatGiveNoNumber) {
  Fixture f;
  f.options.metrics = {"bleu"};
  const auto validator = f.make();
  change_state(f.state, "decoder.0.feed_forward.up.weight",
               [](Tensor& t) { std::fill_n(t.as<float>(), t.size(), std::nanf("")); });
  validator->take(f.state, "");
  for (const auto& [name, value] : validator->run()) EXPECT_TRUE(std::isnan(value)) << name;
}

TEST(Validator, RefusesAtTheStartABeamThatCannotBe) {
  Fixture f;
  f.options.metrics = {"bleu"};
  f.options.validation_beam = 23;
  EXPECT_THAT(refusal(ErrorKind::user, [&] { f.make(); }),
              HasSubstr("beam is 23, but the target vocabulary has only 22"));
}

TEST(Setup, RefusesModelsThatParallelTextCannotTrain) {
  Fixture f;
  f.options.init_from = "somewhere";
  ModelFile begin{.config = f.config, .text = model_text(f.config, f.tokenizers)};
  f.options.model.residual_dropout = 0.25;
  EXPECT_EQ(model_config(f.options, f.tokenizers, &begin).residual_dropout, 0.25);
  begin.text.source_ends = false;
  EXPECT_THAT(refusal(ErrorKind::user, [&] { model_config(f.options, f.tokenizers, &begin); }),
              HasSubstr("somewhere: the model's sources have no end-of-sentence token"));
  begin.config.architecture = Architecture::decoder_only;
  EXPECT_THAT(refusal(ErrorKind::user, [&] { model_config(f.options, f.tokenizers, &begin); }),
              HasSubstr("somewhere: the model is decoder-only; training is on parallel text"));
}

}  // namespace
}  // namespace floe
