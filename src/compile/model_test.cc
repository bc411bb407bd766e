// Whole models, compiled and run by the CPU's kernels, against the reference evaluator in double: loss and
// every gradient, for each kind of layer.
#include <gtest/gtest.h>

#include "ir/op.h"
#include "nn/transformer.h"
#include "nn/weights.h"
#include "passes/autodiff.h"
#include "passes/bias_gradients.h"
#include "passes/mixed_precision.h"
#include "passes/optimizer.h"
#include "passes/simplify.h"
#include "testing/op_case.h"
#include "testing/program_case.h"

namespace floe {
namespace {

struct Variant {
  const char* name;
  void (*change)(ModelConfig&);
};

const Variant kVariants[] = {
    {"post_norm_tied", [](ModelConfig&) {}},
    {"pre_norm", [](ModelConfig& c) { c.norm_placement = NormPlacement::pre; }},
    {"rms_swiglu_rotary_grouped",
     [](ModelConfig& c) {
       c.norm_placement = NormPlacement::pre;
       c.norm_kind = NormKind::rms_norm;
       c.activation = Activation::swiglu;
       c.positions = PositionKind::rotary;
       c.kv_heads = 2;
       c.biases = false;
     }},
    {"gelu_learned_untied",
     [](ModelConfig& c) {
       c.activation = Activation::gelu;
       c.positions = PositionKind::learned;
       c.tied = Tied::none;
       c.output_bias = true;
     }},
    {"all_dropouts",
     [](ModelConfig& c) { c.residual_dropout = c.attention_dropout = c.activation_dropout = 0.2; }},
    {"decoder_only",
     [](ModelConfig& c) {
       c.architecture = Architecture::decoder_only;
       c.encoder_layers = 0;
       c.source_vocabulary = 0;
       c.tied = Tied::target_output;
     }},
};

ModelConfig config_of(const Variant& variant) {
  ModelConfig config;
  config.d_model = 32;
  config.d_ff = 48;
  config.heads = config.kv_heads = 4;
  config.encoder_layers = config.decoder_layers = 2;
  config.source_vocabulary = config.target_vocabulary = 37;
  config.max_positions = 16;
  config.residual_dropout = 0;
  variant.change(config);
  config.validate();
  return config;
}

// The sums behind a gradient have up to rows * vocabulary terms and pass through every layer: a value may be
// off by some hundred units of the largest values' last place, and no more.
constexpr double kUlps = 512;

class CompiledModel : public testing::TestWithParam<Variant> {};

TEST_P(CompiledModel, LossAndGradientsAreThoseOfTheEvaluator) {
  const ModelConfig config = config_of(GetParam());
  const Graph loss = training_graph(config, {0.1, true});
  Differentiated d = differentiate(loss, "loss", trainable_states(loss));
  for (const auto& [name, gradient] : d.gradients) d.graph.add_output("d " + name, gradient);

  TensorMap inputs;
  const auto ids = [](const Shape& shape, uint64_t seed) {
    Tensor tensor = random_tensor(DType::i32, shape, seed, 33);
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.set(i, tensor.at(i) + 3);
    return share(std::move(tensor));
  };
  constexpr int64_t kRows = 3;
  inputs["target_in"] = ids({kRows, 7}, 2);
  auto target = std::make_shared<Tensor>(copy_of(*ids({kRows, 7}, 3)));
  target->set(5, config.pad_id);
  target->set(6, config.pad_id);
  inputs["target_out"] = target;
  if (config.has_encoder()) {
    inputs["source"] = ids({kRows, 5}, 1);
    inputs["source_lengths"] = share(Tensor::from_ints({kRows}, {5, 3, 4}));
  }
  if (config.has_dropout()) {
    inputs["seed"] = share(Tensor::from_ints({}, {11}));
    inputs["ordinals"] = share(Tensor::from_ints({kRows}, {4, 5, 6}));
  }
  TensorMap states;
  for (auto& [name, tensor] : initial_weights(config, 5)) states[name] = share(copy_of(tensor));
  check_program(d.graph, inputs, states, kUlps);
}

// As a device with a kernel for linear_grad gets it: one for each layer with a bias, and no sum over the rows
// of a bf16 dy is left.
TEST_P(CompiledModel, InBf16EveryBiasGradientComesWithItsWeights) {
  const Graph loss = mixed_precision(training_graph(config_of(GetParam()), {0.1, true}));
  const Graph step = simplify(widen_products(simplify(train_step(loss, {}))));
  const Graph joined = join_bias_gradients(step, [](const Graph&, const Node&) { return true; });
  int with_bias = 0, gradients = 0;
  for (const Node& node : loss.nodes()) with_bias += node.op->name == "matmul" && node.inputs.size() == 3;
  for (const Node& node : joined.nodes()) {
    gradients += node.op->name == "linear_grad";
    if (node.op->name != "reduce_sum") continue;
    EXPECT_EQ(node.types[0].dtype, DType::f32) << node.where;
  }
  EXPECT_EQ(gradients, with_bias);
}

INSTANTIATE_TEST_SUITE_P(Variants, CompiledModel, testing::ValuesIn(kVariants),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace floe
