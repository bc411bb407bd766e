#include "translate/quantize_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "kernel/cpu/int8_tile.h"
#include "tensor/quantize.h"
#include "tensor/safetensors.h"
#include "testing/test_device.h"
#include "text/temp_files_for_test.h"
#include "translate/engine.h"
#include "translate/model_session.h"
#include "translate/scorer.h"
#include "translate/small_models_for_test.h"

namespace floe {
namespace {

using testing::HasSubstr;

// Wide enough that scales and biases are few beside the codes.
ModelFile wide_model(Tied tied = Tied::all) {
  ModelFile model = small_model();
  model.config.d_model = 128;
  model.config.heads = model.config.kv_heads = 4;
  model.config.d_ff = 512;
  model.config.tied = tied;
  model.weights = initial_weights(model.config, 3);
  return model;
}

// A model with opinions: what it says depends on its weights and not on the last bit of a sum.
ModelFile loud_model(uint32_t seed = 5) {
  ModelFile model = small_model(seed);
  model.config.d_model = 32;
  model.config.d_ff = 64;
  model.weights = initial_weights(model.config, seed);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (auto& [name, weight] : model.weights) {
    if (weight.shape().size() != 2 || name == "positions.sinusoid") continue;
    for (int64_t i = 0; i < weight.size(); ++i) weight.as<float>()[i] += 0.3f * normal(random);
  }
  return model;
}

const std::vector<std::string> kLines = {"a b c", "d", "c c a", "b a d c a b", "a",       "d d d d d d d d",
                                         "b c",   "c", "a d",   "b b",         "c d a b", "d c b a"};

std::vector<std::string> translations(ModelFile model, std::span<const std::string> lines, int threads = 2) {
  const std::unique_ptr<Device> device = open_test_device(threads);
  TranslatorOptions options;
  options.search.max_length = 12;
  ModelSession session(std::move(model), *device, {});
  Translator translator = session.translator(options, [](const std::string&) {});
  std::vector<std::string> out;
  for (const Translation& t : translator.translate(lines)) out.push_back(t.text());
  return out;
}

std::function<bool(std::string&)> reader(std::vector<std::string> lines) {
  return [lines = std::move(lines), next = size_t{0}](std::string& line) mutable {
    if (next == lines.size()) return false;
    line = lines[next++];
    return true;
  };
}

TEST(QuantizeModel, ATiedTableIsStoredOnceAndTheFileIsAQuarter) {
  const TempFiles files;
  ModelFile model = wide_model();
  save_model(files.path("f32"), model);
  const QuantizeReport report = quantize_model(&model, {});
  EXPECT_TRUE(report.kept.empty());
  save_model(files.path("int8"), model);
  const SafetensorsFile file = SafetensorsFile::open(files.path("int8/model.safetensors"));
  EXPECT_EQ(file.entry("embedding.weight").dtype, DType::i8);
  EXPECT_TRUE(file.has("embedding.weight.scale"));
  EXPECT_FALSE(file.has("output.weight"));
  const auto size = [&](const char* folder) {
    return static_cast<double>(std::filesystem::file_size(files.path(folder) + "/model.safetensors"));
  };
  EXPECT_LE(size("int8") / size("f32"), 0.27);
}

TEST(QuantizeModel, ComesBackAsItWasSavedAndIsFloatAgainWhenAsked) {
  const TempFiles files;
  ModelFile model = loud_model();
  const ModelFile original = loud_model();
  quantize_model(&model, {});
  Calibration calibration;
  calibration.ranges = {{"encoder.0.self_attention.qkv.weight", 2.5f}};
  set_input_scales(&model, calibration);
  save_model(files.path("model"), model);
  const ModelFile back = load_model(files.path("model"));
  ASSERT_EQ(back.weights.size(), model.weights.size());
  for (const auto& [name, tensor] : model.weights) {
    ASSERT_EQ(back.weights.at(name).dtype(), tensor.dtype()) << name;
    EXPECT_EQ(std::memcmp(back.weights.at(name).data(), tensor.data(), tensor.bytes()), 0) << name;
  }
  EXPECT_EQ(back.weights.at("encoder.0.self_attention.qkv.weight.input_scale").at(0), 2.5f / 127);
  const Weights floats = dequantized(load_model(files.path("model")).weights);
  EXPECT_EQ(floats.size(), original.weights.size());
  for (const auto& [name, tensor] : original.weights) {
    for (int64_t i = 0; i < tensor.size(); ++i)
      ASSERT_NEAR(floats.at(name).at(i), tensor.at(i), 0.02) << name;
  }
}

TEST(QuantizeModel, LeavesWhatItIsToldInFloat) {
  ModelFile model = small_model();
  const QuantizeReport report =
      quantize_model(&model, {.keep_float = {"encoder", "decoder.0.cross_attention.kv"}});
  EXPECT_EQ(report.kept, (std::vector<std::string>{
                             "encoder.0.self_attention.qkv.weight", "encoder.0.self_attention.out.weight",
                             "encoder.0.feed_forward.up.weight", "encoder.0.feed_forward.down.weight",
                             "decoder.0.cross_attention.kv.weight"}));
  EXPECT_EQ(model.weights.at("encoder.0.feed_forward.up.weight").dtype(), DType::f32);
  EXPECT_EQ(model.weights.at("embedding.weight").dtype(), DType::i8);
  EXPECT_EQ(translations(std::move(model), kLines).size(), kLines.size());
}

TEST(QuantizeModel, RefusesWhatItCannotDo) {
  ModelFile model = small_model();
  EXPECT_EQ(refusal([&] { quantize_model(&model, {.keep_float = {"enc"}}); }),
            "'enc' is the name, or the beginning of the name, of no weight that may be INT8");
  model.weights.at("embedding.weight").set(9, std::nan(""));
  EXPECT_EQ(refusal([&] { quantize_model(&model, {}); }),
            "'embedding.weight' holds nan in row 1: it cannot be INT8");
  ModelFile twice = small_model();
  quantize_model(&twice, {});
  EXPECT_EQ(refusal([&] { quantize_model(&twice, {}); }), "the model's weights are INT8 already");
}

struct Stored {
  TempFiles files;
  std::string path = files.path("model");
  Stored() {
    ModelFile model = small_model();
    quantize_model(&model, {});
    save_model(path, model);
  }
  std::string refusal_after(const std::function<void(Weights&)>& edit) const {
    const std::string name = path + "/model.safetensors";
    Weights weights;
    {
      const SafetensorsFile old = SafetensorsFile::open(name);
      for (const std::string& tensor : old.names()) weights.emplace(tensor, old.load(tensor));
    }
    edit(weights);
    std::vector<NamedTensor> rows;
    for (const auto& [tensor, value] : weights) rows.push_back({tensor, view_of(value)});
    write_safetensors(name, rows);
    return refusal([&] { load_model(path); });
  }
};

TEST(QuantizeModel, AFileWhoseCodesOrScalesCannotBeIsRefused) {
  EXPECT_THAT(Stored().refusal_after([](Weights& w) { w.at("embedding.weight").set(3, -128); }),
              HasSubstr("tensor 'embedding.weight' holds -128, which is no code"));
  EXPECT_THAT(Stored().refusal_after([](Weights& w) { w.erase("embedding.weight.scale"); }),
              HasSubstr("tensor 'embedding.weight.scale' is missing"));
  EXPECT_THAT(Stored().refusal_after([](Weights& w) { w.at("embedding.weight.scale").set(2, 0); }),
              HasSubstr("tensor 'embedding.weight.scale' holds 0, which is no scale"));
  EXPECT_THAT(Stored().refusal_after([](Weights& w) { w.at("embedding.weight.scale").set(2, INFINITY); }),
              HasSubstr("tensor 'embedding.weight.scale' holds inf, which is no scale"));
  EXPECT_THAT(
      Stored().refusal_after([](Weights& w) { w["embedding.weight.scale"] = Tensor(DType::f32, {8}); }),
      HasSubstr("tensor 'embedding.weight.scale' must be f32[8, 1], and is f32[8]"));
  EXPECT_THAT(Stored().refusal_after(
                  [](Weights& w) { w["encoder.0.self_attention.norm.gamma.scale"] = Tensor::scalar(1); }),
              HasSubstr("tensor 'encoder.0.self_attention.norm.gamma.scale' has no place in this model"));
  EXPECT_THAT(Stored().refusal_after(
                  [](Weights& w) { w["encoder.0.self_attention.qkv.bias"] = Tensor(DType::i8, {24}); }),
              HasSubstr("tensor 'encoder.0.self_attention.qkv.bias' must be a float[24], and is i8[24]"));
}

TEST(Int8Translation, ASentenceIsTranslatedTheSameAloneAndAmongOthers) {
  ModelFile model = loud_model();
  quantize_model(&model, {});
  const auto again = [] {
    ModelFile m = loud_model();
    quantize_model(&m, {});
    return m;
  };
  const std::vector<std::string> together = translations(again(), kLines);
  EXPECT_EQ(translations(again(), kLines, /*threads=*/1), together);
  for (size_t i = 0; i < kLines.size(); ++i)
    EXPECT_EQ(translations(again(), std::span(kLines).subspan(i, 1))[0], together[i]) << kLines[i];
}

std::vector<double> scores(ModelFile model) {
  const std::unique_ptr<Device> device = open_test_device();
  Scorer scorer(std::move(model), {}, *device, [](const std::string&) {});
  std::vector<double> out;
  for (const PairScore& score : scorer.score(kLines, kLines, 1)) out.push_back(score.log_probability);
  return out;
}

TEST(Int8Translation, EveryKindOfCpuGivesTheSameBits) {
  FLOE_NEEDS_CPU();
  const auto model = [] {
    ModelFile m = loud_model();
    quantize_model(&m, {});
    return m;
  };
  const std::vector<double> best = scores(model());
  for (const Int8Target target : int8_targets()) {
    force_int8_target(target);
    EXPECT_EQ(scores(model()), best) << name_of(target);
  }
  force_int8_target(int8_targets().back());
}

// A product whose operands are rounded to steps of 1/127 of about three deviations errs by 1 % of its
// deviation; ten of them in a row by 3 %, where attention is soft enough not to amplify it. The worst of a
// dozen sentences is allowed three times that.
TEST(Int8Translation, ScoresLieNearTheFloatModels) {
  const auto soft_model = [] {
    ModelFile model = loud_model();
    model.weights = initial_weights(model.config, 5);
    return model;
  };
  const std::vector<double> plain = scores(soft_model());
  ModelFile dynamic = soft_model(), fixed = soft_model();
  const std::unique_ptr<Device> device = open_test_device();
  const Calibration calibration =
      calibrate(fixed, int8_candidates(fixed.config, {}), reader(kLines), *device, {.least_sentences = 12});
  quantize_model(&dynamic, {});
  quantize_model(&fixed, {});
  set_input_scales(&fixed, calibration);
  double mean = 0, spread = 0;
  for (const double score : plain) mean += score / static_cast<double>(plain.size());
  for (const double score : plain)
    spread += (score - mean) * (score - mean) / static_cast<double>(plain.size());
  spread = std::sqrt(spread);
  for (ModelFile* model : {&dynamic, &fixed}) {
    const std::vector<double> got = scores(std::move(*model));
    double worst = 0;
    for (size_t i = 0; i < plain.size(); ++i) worst = std::max(worst, std::fabs(got[i] - plain[i]));
    EXPECT_GT(worst, 0);
    EXPECT_LT(worst, 3 * 0.03 * spread);
  }
}

Calibration calibrated(std::vector<std::string> lines, const CalibrationOptions& options) {
  const ModelFile model = loud_model();
  const std::unique_ptr<Device> device = open_test_device();
  return calibrate(model, int8_candidates(model.config, {}), reader(std::move(lines)), *device, options);
}

TEST(Calibrate, NeitherOrderNorBatchesNorPaddingMatter) {
  std::vector<std::string> backward(kLines.rbegin(), kLines.rend());
  for (const RangeMethod method : {RangeMethod::minmax, RangeMethod::average, RangeMethod::percentile,
                                   RangeMethod::entropy, RangeMethod::mse}) {
    const CalibrationOptions whole{.range = {method, 99}, .least_sentences = 4};
    CalibrationOptions alone = whole, chunked = whole;
    alone.batch_tokens = 1;  // a sentence a batch: no padding
    chunked.chunk_lines = 5;
    const Calibration want = calibrated(kLines, whole);
    EXPECT_EQ(want.sentences, 12);
    EXPECT_EQ(want.ranges.size(), 12u);
    for (const Calibration& got :
         {calibrated(backward, whole), calibrated(kLines, alone), calibrated(kLines, chunked)}) {
      EXPECT_EQ(got.ranges, want.ranges) << name_of(method);
      EXPECT_EQ(got.tokens, want.tokens);
    }
  }
}

TEST(Calibrate, RefusesAnEmptyOrASmallSetWithCounts) {
  EXPECT_EQ(refusal([] { calibrated({}, {}); }),
            "0 sentences (0 tokens) are too few to calibrate with; 16 is the least");
  EXPECT_EQ(refusal([] { calibrated({"", "  "}, {}); }),
            "0 sentences (0 tokens) are too few to calibrate with; 16 is the least");
  EXPECT_THAT(refusal([] { calibrated(kLines, {}); }),
              testing::MatchesRegex(
                  "12 sentences \\([0-9]+ tokens\\) are too few to calibrate with; 16 is the least"));
}

TEST(Calibrate, NamesTheProductWhoseInputIsDead) {
  ModelFile model = loud_model();
  for (const char* name : {"encoder.0.feed_forward.up.weight", "encoder.0.feed_forward.up.bias"}) {
    Tensor& weight = model.weights.at(name);
    std::memset(weight.data(), 0, weight.bytes());
  }
  const std::unique_ptr<Device> device = open_test_device();
  EXPECT_EQ(refusal([&] {
              calibrate(model, int8_candidates(model.config, {}), reader(kLines), *device,
                        {.least_sentences = 1});
            }),
            "the input of 'encoder.0.feed_forward.down.weight' was always 0 in the calibration set");
}

}  // namespace
}  // namespace floe
