#include "translate/compare_int8.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "testing/test_device.h"
#include "text/temp_files_for_test.h"
#include "translate/quantize_model.h"
#include "translate/small_models_for_test.h"

namespace floe {
namespace {

ModelFile float_model() {
  ModelFile model = small_model(5);
  model.config.d_model = 32;
  model.config.d_ff = 64;
  model.weights = initial_weights(model.config, 5);
  return model;
}

ModelFile int8_model(const QuantizeOptions& options = {}) {
  ModelFile model = float_model();
  quantize_model(&model, options);
  return model;
}

std::vector<IdPair> some_pairs() {
  std::mt19937 random(3);
  std::vector<IdPair> pairs(20);
  for (size_t i = 0; i < pairs.size(); ++i) {
    pairs[i].source.resize(1 + i % 7);
    pairs[i].target.resize(1 + i % 5);
    for (std::vector<int32_t>* ids : {&pairs[i].source, &pairs[i].target})
      for (int32_t& id : *ids) id = static_cast<int32_t>(4 + random() % 4);
    pairs[i].source.push_back(3);
  }
  return pairs;
}

const ProductComparison& of(const std::vector<ProductComparison>& list, const std::string& weight) {
  for (const ProductComparison& each : list) {
    if (each.weight == weight) return each;
  }
  throw std::runtime_error(weight);
}

TEST(CompareInt8, RealAndFakeHaveTheSameCodesInEveryProduct) {
  FLOE_NEEDS_CPU();
  const std::vector<IdPair> pairs = some_pairs();
  int64_t sources = 0, targets = 0;
  for (const IdPair& pair : pairs) {
    sources += static_cast<int64_t>(pair.source.size());
    targets += static_cast<int64_t>(pair.target.size()) + 1;
  }
  const std::unique_ptr<Device> device = open_test_device();
  const std::vector<ProductComparison> list = compare_products(float_model(), int8_model(), pairs, *device);
  ASSERT_EQ(list.size(), 12u);
  for (const ProductComparison& p : list) {
    EXPECT_EQ(p.different_codes, 0) << p.weight;
    const bool of_source = p.weight.starts_with("encoder") || p.weight.ends_with("cross_attention.kv.weight");
    EXPECT_EQ(p.rows, of_source ? sources : targets) << p.weight;  // without padding
    EXPECT_EQ(p.codes, p.rows * p.inputs) << p.weight;
    // Steps of 1/127 of a row's and a weight row's largest, at most six deviations each: an error of at most
    // 2 (6 / 127)^2 / 12 of the energy.
    EXPECT_GT(p.sqnr_db, -10 * std::log10(2 * (6.0 / 127) * (6.0 / 127) / 12)) << p.weight;
    EXPECT_TRUE(std::isfinite(p.sqnr_db)) << p.weight;
    EXPECT_GT(p.worst, 0) << p.weight;
    EXPECT_LT(p.fake_worst, 1e-5 * p.rms * std::sqrt(static_cast<double>(p.inputs))) << p.weight;
    EXPECT_GE(p.saturated * static_cast<double>(p.codes), static_cast<double>(p.rows))
        << p.weight;  // each row's largest
    EXPECT_EQ(p.dead_outputs, 0) << p.weight;
  }
}

// What float sums round otherwise may push a code over a tie now and then; that is little beside what INT8
// does.
TEST(CompareInt8, TheWholeModelIsTheSameSimulatedAndReal) {
  FLOE_NEEDS_CPU();
  const std::vector<IdPair> pairs = some_pairs();
  const std::unique_ptr<Device> device = open_test_device();
  const std::vector<double> plain = token_log_probs(float_model(), pairs, *device);
  const std::vector<double> real = token_log_probs(int8_model(), pairs, *device, Int8::real);
  const std::vector<double> fake = token_log_probs(int8_model(), pairs, *device, Int8::fake);
  double lowering = 0, quantizing = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    lowering += std::fabs(fake[i] - real[i]);
    quantizing += std::fabs(real[i] - plain[i]);
  }
  EXPECT_GT(quantizing, 0);
  EXPECT_LT(lowering, 0.1 * quantizing);
}

TEST(CompareInt8, CountsDeadChannels) {
  FLOE_NEEDS_CPU();
  const auto with_dead = [] {
    ModelFile model = float_model();
    Tensor& up = model.weights.at("encoder.0.feed_forward.up.weight");  // [64, 32]
    std::memset(up.data(), 0, 3 * 32 * sizeof(float));                  // three of its outputs
    return model;
  };
  ModelFile quantized = with_dead();
  quantize_model(&quantized, {});
  const std::unique_ptr<Device> device = open_test_device();
  const auto list = compare_products(with_dead(), quantized, some_pairs(), *device);
  EXPECT_EQ(of(list, "encoder.0.feed_forward.up.weight").dead_outputs, 3);
  EXPECT_EQ(of(list, "encoder.0.feed_forward.up.weight").dead_inputs, 0);
  EXPECT_GE(of(list, "encoder.0.feed_forward.down.weight").dead_inputs, 3);  // relu of 0 is 0
}

TEST(CompareInt8, AFixedScaleThatIsTooSmallShowsAsSaturation) {
  FLOE_NEEDS_CPU();
  const std::string weight = "decoder.0.feed_forward.up.weight";
  ModelFile wide = int8_model(), narrow = int8_model();
  set_input_scales(&wide, {.ranges = {{weight, 5.0f}}});
  set_input_scales(&narrow, {.ranges = {{weight, 0.2f}}});
  const std::unique_ptr<Device> device = open_test_device();
  const auto wide_list = compare_products(float_model(), wide, some_pairs(), *device);
  const auto narrow_list = compare_products(float_model(), narrow, some_pairs(), *device);
  EXPECT_LT(of(wide_list, weight).saturated, 0.01);
  EXPECT_GT(of(narrow_list, weight).saturated, 0.5);
  EXPECT_GT(of(wide_list, weight).sqnr_db, of(narrow_list, weight).sqnr_db + 10);
  EXPECT_EQ(of(narrow_list, weight).different_codes, 0);
}

TEST(Sensitivity, NamesTheWeightThatDisturbsMostFirst) {
  FLOE_NEEDS_CPU();
  const std::string weight = "decoder.0.feed_forward.up.weight";
  ModelFile quantized = int8_model({.keep_float = {"encoder"}});
  set_input_scales(&quantized, {.ranges = {{weight, 0.05f}}});  // clips nearly everything
  const std::unique_ptr<Device> device = open_test_device();
  const std::vector<Sensitivity> list = sensitivities(float_model(), quantized, some_pairs(), *device);
  ASSERT_EQ(list.size(), 8u);
  EXPECT_EQ(list[0].weight, weight);
  for (size_t i = 1; i < list.size(); ++i) EXPECT_LE(list[i].log_prob_change, list[i - 1].log_prob_change);
  EXPECT_GT(list.back().log_prob_change, 0);
}

TEST(Sensitivity, OfAModelThatIsFloatThroughoutIsNothing) {
  const std::vector<IdPair> pairs = some_pairs();
  const std::unique_ptr<Device> device = open_test_device();
  EXPECT_TRUE(sensitivities(float_model(), float_model(), pairs, *device).empty());
  const std::vector<double> scores = token_log_probs(float_model(), pairs, *device);
  size_t tokens = 0;
  for (const IdPair& pair : pairs) tokens += pair.target.size() + 1;
  EXPECT_EQ(scores.size(), tokens);
  for (const double score : scores) EXPECT_LT(score, 0);
}

TEST(ForcedPairs, LeaveOutBlankLinesAndCutLongOnes) {
  const ModelFile model = float_model();
  const std::vector<std::string> source{"a b", " ", "c", "d"}, target{"b", "c", "", "a a"};
  const std::vector<IdPair> pairs = given_pairs(model.text, source, target);
  ASSERT_EQ(pairs.size(), 2u);
  EXPECT_EQ(pairs[0].source, (std::vector<int32_t>{4, 5, 3}));
  EXPECT_EQ(pairs[1].target, (std::vector<int32_t>{4, 4}));
  std::string longer;
  for (int i = 0; i < 100; ++i) longer += "a ";
  const std::vector<std::string> one{longer};
  EXPECT_EQ(given_pairs(model.text, one, one)[0].source.size(), 32u);
  EXPECT_EQ(given_pairs(model.text, one, one)[0].target.size(), 31u);
  EXPECT_EQ(refusal([&] { given_pairs(model.text, source, one); }), "4 source lines with 1 target lines");
}

}  // namespace
}  // namespace floe
