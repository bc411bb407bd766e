#include "nn/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "base/error.h"
#include "nn/models_for_test.h"

namespace floe {
namespace {

struct Refusal {
  std::function<void(ModelConfig&)> change;
  const char* message;
};

std::string message_of(const ModelConfig& config) {
  try {
    config.validate();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "accepted";
}

TEST(ModelConfig, AcceptsTheTinyModels) {
  EXPECT_NO_THROW(tiny_model().validate());
  EXPECT_NO_THROW(tiny_decoder().validate());
}

TEST(ModelConfig, NamesWhatIsWrong) {
  const Refusal refusals[] = {
      {[](ModelConfig& c) { c.d_model = 0; }, "model: d_model must be at least 1, got 0"},
      {[](ModelConfig& c) { c.heads = 0; }, "model: heads must be at least 1, got 0"},
      {[](ModelConfig& c) { c.kv_heads = -1; }, "model: kv_heads must be at least 1, got -1"},
      {[](ModelConfig& c) { c.d_ff = 0; }, "model: d_ff must be at least 1, got 0"},
      {[](ModelConfig& c) { c.encoder_layers = 0; }, "model: encoder_layers must be at least 1, got 0"},
      {[](ModelConfig& c) { c.decoder_layers = 0; }, "model: decoder_layers must be at least 1, got 0"},
      {[](ModelConfig& c) { c.max_positions = 0; }, "model: max_positions must be at least 1, got 0"},
      {[](ModelConfig& c) { c.d_ff = INT64_C(1) << 31; }, "model: d_ff = 2147483648 is beyond 2^30"},
      {[](ModelConfig& c) { c.heads = c.kv_heads = 3; }, "model: heads = 3 does not divide d_model = 8"},
      {[](ModelConfig& c) { c.heads = 4, c.kv_heads = 3; }, "model: kv_heads = 3 does not divide heads = 4"},
      {[](ModelConfig& c) { c.target_vocabulary = 3; },
       "model: target_vocabulary must hold at least 4 tokens, got 3"},
      {[](ModelConfig& c) { c.source_vocabulary = 2; },
       "model: source_vocabulary must hold at least 4 tokens, got 2"},
      {[](ModelConfig& c) { c.source_vocabulary = 12; },
       "model: tied = all needs one vocabulary, but source_vocabulary = 12 and target_vocabulary = 11"},
      {[](ModelConfig& c) {
         c.positions = PositionKind::rotary;
         c.heads = c.kv_heads = 8;
       },
       "model: rotary positions turn pairs, but the head size 8 / 8 = 1 is odd"},
      {[](ModelConfig& c) {
         c.positions = PositionKind::rotary;
         c.rotary_base = 1;
       },
       "model: rotary_base must be finite and above 1, got 1"},
      {[](ModelConfig& c) {
         c.d_model = 9;
         c.heads = c.kv_heads = 3;
       },
       "model: sinusoidal positions need an even d_model of at least 4, got 9"},
      {[](ModelConfig& c) { c.norm_epsilon = 0; }, "model: norm_epsilon must be in (0, 1), got 0"},
      {[](ModelConfig& c) { c.residual_dropout = 1; }, "model: residual_dropout must be in [0, 1), got 1"},
      {[](ModelConfig& c) { c.attention_dropout = -0.5; },
       "model: attention_dropout must be in [0, 1), got -0.5"},
      {[](ModelConfig& c) { c.activation_dropout = std::numeric_limits<double>::quiet_NaN(); },
       "model: activation_dropout must be in [0, 1), got nan"},
      {[](ModelConfig& c) { c.eos_id = 11; }, "model: eos_id = 11 is outside the target vocabulary of 11"},
      {[](ModelConfig& c) { c.start_id = -1; },
       "model: start_id = -1 is outside the target vocabulary of 11"},
      {[](ModelConfig& c) { c.pad_id = 2; },
       "model: eos_id and pad_id are both 2: the end would not be learnt"},
  };
  for (const Refusal& refusal : refusals) {
    ModelConfig config = tiny_model();
    refusal.change(config);
    EXPECT_EQ(message_of(config), refusal.message);
  }
}

TEST(ModelConfig, KeepsEncoderFieldsOutOfADecoder) {
  ModelConfig c = tiny_decoder();
  c.encoder_layers = 2;
  EXPECT_EQ(message_of(c), "model: a decoder_only model has no encoder_layers, got 2");
  c = tiny_decoder();
  c.source_vocabulary = 8;
  EXPECT_EQ(message_of(c), "model: a decoder_only model has no source_vocabulary, got 8");
  c = tiny_decoder();
  c.tied = Tied::source_target;
  EXPECT_EQ(message_of(c), "model: tied = source_target needs an encoder");
}

TEST(ModelConfig, ReadsBackEveryName) {
  Activation activation = Activation::relu;
  for (const Activation value :
       {Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu, Activation::swiglu}) {
    parse(name_of(value), &activation);
    EXPECT_EQ(activation, value);
  }
  Sinusoid sinusoid = Sinusoid::fairseq;
  parse("hf_marian", &sinusoid);
  EXPECT_EQ(sinusoid, Sinusoid::hf_marian);
  try {
    parse("swish", &activation);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "unknown activation 'swish': there are relu, gelu, gelu_tanh, silu, swiglu");
  }
}

}  // namespace
}  // namespace floe
