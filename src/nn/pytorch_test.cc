// Small models against what PyTorch computed in f32 (tools/dump_pytorch.py): the loss, every gradient, ten
// AdamW steps.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/evaluate.h"
#include "nn/transformer.h"
#include "nn/weights.h"
#include "ops/all.h"
#include "passes/autodiff.h"
#include "passes/optimizer.h"
#include "tensor/safetensors.h"

namespace floe {
namespace {

constexpr double kUlp = 0x1p-24;  // relative error of one f32 operation
// The longest chain of dependent f32 operations in these models (two layers a stack, sums of up to 40 terms,
// softmax, norms, forth and back) is a few hundred; the errors are of either sign, so about the root of their
// number adds up.
constexpr double kChain = 128;
constexpr OptimizerOptions kAdam{.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-4, .weight_decay = 0.01};
constexpr double kRate = 1e-3;
constexpr int kSteps = 10;

ModelConfig classic() {
  ModelConfig c;
  c.d_model = 16;
  c.encoder_layers = c.decoder_layers = 2;
  c.heads = c.kv_heads = 4;
  c.d_ff = 24;
  c.source_vocabulary = c.target_vocabulary = 40;
  c.max_positions = 16;
  c.residual_dropout = 0;
  return c;
}

ModelConfig modern() {
  ModelConfig c = classic();
  c.encoder_layers = c.decoder_layers = 1;
  c.kv_heads = 2;
  c.norm_placement = NormPlacement::pre;
  c.norm_kind = NormKind::rms_norm;
  c.activation = Activation::swiglu;
  c.positions = PositionKind::rotary;
  c.tied = Tied::none;
  c.biases = false;
  c.output_bias = true;
  return c;
}

struct Dump {
  SafetensorsFile file;
  RefMap batch;
  RefMap weights;

  Dump(const std::string& name, const ModelConfig& config)
      : file(SafetensorsFile::open(std::string(FLOE_SOURCE_DIR) + "/src/nn/testdata/" + name)) {
    for (const char* input : {"source", "source_lengths", "target_in", "target_out"})
      batch[input] = get(input);
    for (const WeightSpec& spec : weight_table(config)) {
      weights[spec.name] = spec.trainable ? get("w." + spec.name) : ref_of(initial_weight(config, spec, 0));
    }
  }
  RefTensor get(const std::string& name) const { return ref_of(file.load(name)); }
};

double rms(const RefTensor& tensor) {
  double sum = 0;
  for (const double x : tensor.f) sum += x * x;
  return std::sqrt(sum / static_cast<double>(tensor.f.size()));
}

void expect_equal_gradients(const Dump& dump, const ModelConfig& config) {
  std::vector<std::string> names;
  for (const WeightSpec& spec : weight_table(config)) {
    if (spec.trainable) names.push_back(spec.name);
  }
  Differentiated d = differentiate(training_graph(config, {.label_smoothing = 0.1}), "loss", names);
  for (const std::string& name : names) d.graph.add_output("d_" + name, d.gradients.at(name));
  const RefMap out = evaluate(d.graph, dump.batch, dump.weights).outputs;
  const double tokens = out.at("tokens").f[0];
  EXPECT_EQ(tokens, 17);
  const double loss = dump.get("losses").f[0];
  EXPECT_NEAR(out.at("loss").f[0] / tokens, loss, kChain * kUlp * loss);
  for (const std::string& name : names) {
    const RefTensor want = dump.get("g." + name);
    const RefTensor& got = out.at("d_" + name);
    ASSERT_EQ(got.shape, want.shape) << name;
    const double size = rms(want);
    for (size_t i = 0; i < want.f.size(); ++i) {
      ASSERT_NEAR(got.f[i] / tokens, want.f[i], kChain * kUlp * std::max(size, std::fabs(want.f[i])))
          << name << " " << i;
    }
  }
}

void expect_equal_training(const Dump& dump, const ModelConfig& config) {
  const Graph step = train_step(training_graph(config, {.label_smoothing = 0.1}), kAdam);
  RefMap states = dump.weights;
  for (const NamedValue& state : step.states()) {
    if (states.contains(state.name)) continue;
    Shape shape;
    for (const Dim& dim : step.type(state.value).dims) shape.push_back(dim.constant());
    states[state.name] = RefTensor(DType::f32, shape);
  }
  RefMap feeds = dump.batch;
  feeds["lr"] = RefTensor(DType::f32, {});
  feeds["lr"].f[0] = kRate;
  feeds["step"] = RefTensor(DType::i32, {});
  const RefTensor losses = dump.get("losses");
  for (int t = 0; t < kSteps; ++t) {
    feeds["step"].i[0] = t + 1;
    const Evaluation now = evaluate(step, feeds, states);
    // Weights differ by more than rounding after the first step; see below. The loss has a slope of about 1
    // by each.
    EXPECT_NEAR(now.outputs.at("loss").f[0] / now.outputs.at("tokens").f[0], losses.f[static_cast<size_t>(t)],
                2 * kChain * kUlp * losses.f[static_cast<size_t>(t)])
        << "step " << t;
    for (const auto& [name, value] : now.updates) states.at(name) = value;
  }
  EXPECT_LT(losses.f[kSteps - 1], losses.f[0]);
  for (const WeightSpec& spec : weight_table(config)) {
    if (!spec.trainable) continue;
    const RefTensor want = dump.get("after." + spec.name);
    const RefTensor& got = states.at(spec.name);
    // A gradient's error e moves a weight by at most lr * e / epsilon in a step; the weight itself is rounded
    // each time.
    const double error = kChain * kUlp * rms(dump.get("g." + spec.name));
    for (size_t i = 0; i < want.f.size(); ++i) {
      ASSERT_NEAR(got.f[i], want.f[i], kSteps * (kRate * error / kAdam.epsilon + kUlp * std::fabs(want.f[i])))
          << spec.name << " " << i;
    }
  }
}

TEST(PyTorch, GivesTheSameLossAndGradients) {
  expect_equal_gradients(Dump("pytorch_classic.safetensors", classic()), classic());
}

TEST(PyTorch, GivesTheSameLossAndGradientsOfAModernModel) {
  expect_equal_gradients(Dump("pytorch_modern.safetensors", modern()), modern());
}

TEST(PyTorch, TrainsToTheSameWeightsInTenSteps) {
  expect_equal_training(Dump("pytorch_classic.safetensors", classic()), classic());
}

TEST(PyTorch, TrainsAModernModelToTheSameWeightsInTenSteps) {
  expect_equal_training(Dump("pytorch_modern.safetensors", modern()), modern());
}

}  // namespace
}  // namespace floe
