#include "nn/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "nn/models_for_test.h"

namespace floe {
namespace {

const WeightSpec& row(const std::vector<WeightSpec>& table, const std::string& name) {
  for (const WeightSpec& spec : table) {
    if (spec.name == name) return spec;
  }
  throw std::runtime_error("no weight " + name);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

// docs: the small Multi30k recipe, 128/256, 4 + 4 layers, 4 heads, 10k joint BPE: 2.61 M parameters. By hand,
// with d = 128, f = 256: attention 4 d^2 + 4 d, feed-forward 2 d f + f + d, norm 2 d.
TEST(WeightTable, CountsTheParametersOfTheSmallRecipe) {
  ModelConfig c;
  c.d_model = 128;
  c.d_ff = 256;
  c.encoder_layers = c.decoder_layers = 4;
  c.heads = c.kv_heads = 4;
  c.source_vocabulary = c.target_vocabulary = 10000;
  const int64_t attention = 4 * 128 * 128 + 4 * 128;
  const int64_t forward = 2 * 128 * 256 + 256 + 128;
  const int64_t norm = 2 * 128;
  const int64_t layers = 4 * (attention + forward + 2 * norm) + 4 * (2 * attention + forward + 3 * norm);
  EXPECT_EQ(parameter_count(c), 10000 * 128 + layers);
  EXPECT_EQ(parameter_count(c), 2605056);
}

TEST(WeightTable, NamesAreUniqueAndMergedRowsSayTheirSections) {
  ModelConfig c = tiny_model();
  c.heads = 4;
  c.kv_heads = 2;
  c.activation = Activation::swiglu;
  const std::vector<WeightSpec> table = weight_table(c);
  std::set<std::string> names;
  for (const WeightSpec& spec : table) EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
  const WeightSpec qkv = row(table, "encoder.0.self_attention.qkv.weight");
  EXPECT_EQ(qkv.dims, (Shape{(4 + 2 * 2) * 2, 8}));
  EXPECT_EQ(qkv.sections, (std::vector<int64_t>{8, 4, 4}));
  EXPECT_EQ(qkv.shard_axis, 0);
  EXPECT_TRUE(qkv.may_quantize);
  EXPECT_EQ(row(table, "decoder.1.cross_attention.kv.weight").dims, (Shape{8, 8}));
  EXPECT_EQ(row(table, "decoder.0.feed_forward.up.weight").dims, (Shape{24, 8}));
  EXPECT_EQ(row(table, "decoder.0.feed_forward.down.weight").shard_axis, 1);
  EXPECT_FALSE(row(table, "decoder.0.feed_forward.down.bias").may_quantize);
  EXPECT_EQ(row(table, "encoder.0.feed_forward.norm.gamma").shard_axis, -1);
  EXPECT_FALSE(row(table, "positions.sinusoid").trainable);
}

TEST(WeightTable, TyingDecidesWhichMatricesThereAre) {
  const auto names = [](Tied tied) {
    ModelConfig c = tiny_model();
    c.tied = tied;
    std::string found;
    for (const WeightSpec& spec : weight_table(c)) {
      if (spec.name.find("embedding") != std::string::npos || spec.name.starts_with("output"))
        found += spec.name + " ";
    }
    return found;
  };
  EXPECT_EQ(names(Tied::all), "embedding.weight ");
  EXPECT_EQ(names(Tied::source_target), "embedding.weight output.weight ");
  EXPECT_EQ(names(Tied::target_output), "encoder.embedding.weight decoder.embedding.weight ");
  EXPECT_EQ(names(Tied::none), "encoder.embedding.weight decoder.embedding.weight output.weight ");
}

TEST(InitialWeights, DoNotDependOnTheOtherWeights) {
  ModelConfig small = tiny_model();
  ModelConfig deep = small;
  deep.encoder_layers = 3;
  deep.biases = false;
  const Weights a = initial_weights(small, 5);
  const Weights b = initial_weights(deep, 5);
  for (const char* name : {"embedding.weight", "decoder.1.cross_attention.kv.weight"}) {
    EXPECT_TRUE(same_bits(a.at(name), b.at(name))) << name;
  }
  EXPECT_FALSE(
      same_bits(b.at("encoder.0.self_attention.qkv.weight"), b.at("encoder.1.self_attention.qkv.weight")));
  EXPECT_FALSE(same_bits(a.at("embedding.weight"), initial_weights(small, 6).at("embedding.weight")));
}

TEST(InitialWeights, HaveTheMomentsOfTheirDistributions) {
  ModelConfig c = tiny_model();
  c.d_model = 64;
  c.d_ff = 256;
  c.source_vocabulary = c.target_vocabulary = 2000;
  const Weights weights = initial_weights(c, 1);
  const auto moments = [](const Tensor& t) {
    double sum = 0, squares = 0, largest = 0;
    for (int64_t i = 0; i < t.size(); ++i) {
      sum += t.at(i);
      squares += t.at(i) * t.at(i);
      largest = std::max(largest, std::fabs(t.at(i)));
    }
    const auto n = static_cast<double>(t.size());
    return std::array<double, 3>{sum / n, std::sqrt(squares / n), largest};
  };
  // 128,000 normal numbers of deviation 1/8: the mean is within 5 standard errors of 0, the deviation within
  // 1 % (its standard error is 0.2 %).
  const auto embedding = moments(weights.at("embedding.weight"));
  EXPECT_NEAR(embedding[0], 0, 5 * 0.125 / std::sqrt(128000.0));
  EXPECT_NEAR(embedding[1], 0.125, 0.00125);
  // 16,384 uniform numbers in (-a, a): deviation a / sqrt(3), whose standard error is 0.35 %.
  const double a = std::sqrt(6.0 / (256 + 64));
  const auto up = moments(weights.at("encoder.0.feed_forward.up.weight"));
  EXPECT_NEAR(up[1], a / std::sqrt(3.0), 0.02 * a);
  EXPECT_LE(up[2], a * (1 + 1e-7));
  EXPECT_GT(up[2], 0.99 * a);
}

// Entries by the formulas of nn/config.h, computed here one by one.
TEST(Sinusoid, FollowsEachConvention) {
  ModelConfig c = tiny_model();
  c.pad_id = 3;
  const auto entry = [&](Sinusoid convention, int64_t position, int64_t column) {
    c.sinusoid = convention;
    const Weights weights = initial_weights(c, 0);
    return weights.at("positions.sinusoid").at(position * 8 + column);
  };
  constexpr double kFloat = 1e-7;  // entries are rounded to f32, at most 1 in size
  // Pair 2 of d = 8: scales 10000^(-2/4) or 10000^(-2/3).
  const double by_d = std::pow(10000.0, -0.5);
  const double to_end = std::pow(10000.0, -2.0 / 3);
  EXPECT_NEAR(entry(Sinusoid::interleaved, 5, 4), std::sin(5 * by_d), kFloat);
  EXPECT_NEAR(entry(Sinusoid::interleaved, 5, 5), std::cos(5 * by_d), kFloat);
  EXPECT_NEAR(entry(Sinusoid::hf_marian, 5, 2), std::sin(5 * by_d), kFloat);
  EXPECT_NEAR(entry(Sinusoid::hf_marian, 5, 6), std::cos(5 * by_d), kFloat);
  EXPECT_NEAR(entry(Sinusoid::marian, 5, 2), std::sin(5 * to_end), kFloat);
  EXPECT_NEAR(entry(Sinusoid::opennmt, 5, 2), std::sin(6 * to_end), kFloat);
  EXPECT_NEAR(entry(Sinusoid::opennmt, 5, 6), std::cos(6 * to_end), kFloat);
  EXPECT_NEAR(entry(Sinusoid::fairseq, 5, 2), std::sin(9 * to_end), kFloat);
  EXPECT_NEAR(entry(Sinusoid::marian, 0, 0), 0, kFloat);
  EXPECT_NEAR(entry(Sinusoid::opennmt, 0, 3), std::sin(1e-4), kFloat);
}

TEST(CheckWeights, NamesTheTensorThatDoesNotFit) {
  const ModelConfig c = tiny_model();
  const auto message = [&](const Weights& weights) -> std::string {
    try {
      check_weights(c, weights, "m.safetensors");
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  Weights weights = initial_weights(c, 1);
  EXPECT_EQ(message(weights), "accepted");
  weights["extra"] = Tensor(DType::f32, {1});
  EXPECT_EQ(message(weights), "m.safetensors: tensor 'extra' has no place in this model");
  weights.erase("extra");
  weights["embedding.weight"] = Tensor(DType::f32, {8, 11});
  EXPECT_EQ(message(weights), "m.safetensors: tensor 'embedding.weight' must be f32[11, 8], got f32[8, 11]");
  weights.erase("embedding.weight");
  EXPECT_EQ(message(weights), "m.safetensors: tensor 'embedding.weight' is missing");
}

}  // namespace
}  // namespace floe
