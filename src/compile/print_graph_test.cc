// A training step of a Transformer (embedding, an encoder and a decoder layer with dropout everywhere,
// linear_cross_entropy, their gradients, clipping, AdamW) printed as NumPy and as C++ and run by other
// programs, against the reference evaluator.
#include <gtest/gtest.h>

#include <algorithm>

#include "compile/printable.h"
#include "ir/op.h"
#include "nn/transformer.h"
#include "nn/weights.h"
#include "ops/dropout/dropout.h"
#include "ops/elementwise/elementwise.h"
#include "passes/optimizer.h"
#include "testing/printed_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

constexpr double kRate = 0.3;
constexpr int64_t kRows = 3, kSource = 5;
constexpr int64_t kLengths[] = {1, 4, 7};  // of the target

ModelConfig classic() {
  ModelConfig config;
  config.d_model = 16;
  config.d_ff = 24;
  config.heads = config.kv_heads = 4;
  config.encoder_layers = config.decoder_layers = 1;
  config.source_vocabulary = config.target_vocabulary = 23;
  config.max_positions = 16;
  config.residual_dropout = config.attention_dropout = config.activation_dropout = kRate;
  return config;
}

ModelConfig modern() {
  ModelConfig config = classic();
  config.norm_placement = NormPlacement::pre;
  config.norm_kind = NormKind::rms_norm;
  config.activation = Activation::swiglu;
  config.positions = PositionKind::rotary;
  config.kv_heads = 2;
  config.biases = false;
  return config;
}

// The step, and every mask that it draws as an output of its own: "mask OP_ID".
Graph step_with_masks(const ModelConfig& config) {
  Graph graph = training_graph(config, {0.1, true});
  Value seed, ordinals;
  for (const NamedValue& input : graph.inputs()) {
    if (input.name == "seed") seed = input.value;
    if (input.name == "ordinals") ordinals = input.value;
  }
  Builder b(graph);
  const Graph loss = graph;  // as it was, while the masks are added
  for (const Node& node : loss.nodes()) {
    Dims dims = node.types[0].dims;
    if (node.op->name == "attention") {  // [B, heads, queries, keys]
      dims = {dims[0], dims[2], dims[1], loss.type(node.inputs[1]).dim(1)};
    } else if (node.op->name != "dropout") {
      continue;
    }
    const int64_t op_id = node.attrs.integer("op_id");
    const Value numbers = uniform(b, seed, ordinals, dims, op_id);
    b.output("mask " + std::to_string(op_id), elementwise(b, "le", {b.scalar(kRate), numbers}));
  }
  OptimizerOptions options;
  options.clip_norm = 1;
  options.weight_decay = 0.01;
  options.ema_decay = 0.99;
  return train_step(graph, options);
}

// Moments as they are in the midst of training: were v 0, the first update would be the gradient's sign, and
// that of a gradient which is 0 up to rounding (a key's bias) no more than noise.
PrintedCase case_of(const Graph& graph, const ModelConfig& config, int64_t length) {
  PrintedCase given;
  const auto ids = [&](const Shape& shape, uint64_t seed) {
    Tensor tensor = random_tensor(DType::i32, shape, seed, config.target_vocabulary - 3);
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.set(i, tensor.at(i) + 3);
    return tensor;
  };
  given.inputs["source"] = share(ids({kRows, kSource}, 1));
  given.inputs["source_lengths"] = share(Tensor::from_ints({kRows}, {5, 2, 4}));
  given.inputs["target_in"] = share(ids({kRows, length}, 2));
  Tensor target = ids({kRows, length}, 3);
  target.set(length - 1, config.pad_id);
  given.inputs["target_out"] = share(std::move(target));
  given.inputs["seed"] = share(Tensor::from_ints({}, {12}));
  given.inputs["ordinals"] = share(Tensor::from_ints({kRows}, {40, 41, 47}));
  given.inputs["lr"] = share(Tensor::scalar(0.01f));
  given.inputs["step"] = share(Tensor::from_ints({}, {9}));
  for (auto& [name, tensor] : initial_weights(config, 5)) given.states[name] = share(copy_of(tensor));
  uint64_t seed = 100;
  for (const NamedValue& state : graph.states()) {
    if (given.states.contains(state.name)) continue;
    Shape shape;
    for (const Dim& dim : graph.type(state.value).dims) shape.push_back(dim.constant());
    Tensor tensor = random_tensor(DType::f32, shape, seed++, 0, 0.01);
    if (state.name.starts_with("adam.v.")) {
      for (int64_t i = 0; i < tensor.size(); ++i) tensor.set(i, 0.001 + tensor.at(i) * tensor.at(i));
    }
    given.states[state.name] = share(std::move(tensor));
  }
  return given;
}

// Every node rounds its results once, at most 1.5 units (exp and its kin), and takes over what its operands
// are off by: as many units as the longest path has nodes, times 1.5, relative to a result's root mean
// square.
double units_of(const Graph& graph) {
  const Graph nodes = printable(graph);
  std::vector<int> depth(static_cast<size_t>(nodes.value_count()), 0);
  int longest = 0;
  for (const Node& node : nodes.nodes()) {
    int deepest = 0;
    for (const Value input : node.inputs) deepest = std::max(deepest, depth[static_cast<size_t>(input.id)]);
    for (int k = 0; k < node.result_count(); ++k) depth[static_cast<size_t>(node.result(k).id)] = deepest + 1;
    longest = std::max(longest, deepest + 1);
  }
  return 1.5 * longest;
}

void expect_masks_of_both_kinds(const ProgramResult& got) {
  int masks = 0;
  for (const auto& [name, tensor] : got.outputs) {
    if (!name.starts_with("mask ")) continue;
    ++masks;
    double kept = 0;
    for (int64_t i = 0; i < tensor->size(); ++i) kept += tensor->at(i);
    EXPECT_GT(kept, 0) << name;
    EXPECT_LT(kept, static_cast<double>(tensor->size())) << name;
  }
  EXPECT_GE(masks, 10);
}

class PrintedStep : public testing::TestWithParam<ModelConfig (*)()> {};

TEST_P(PrintedStep, AsCppGivesTheEvaluatorsValuesAtThreeLengths) {
  FLOE_NEEDS_CPU();
  if (const std::string why = why_no_cpp(); !why.empty()) GTEST_SKIP() << why;
  const ModelConfig config = GetParam()();
  const Graph graph = step_with_masks(config);
  for (const int64_t length : kLengths) {
    const PrintedCase given = case_of(graph, config, length);
    // A build with optimisation takes most of the time; one shows whether __restrict holds.
    const bool longest = length == std::ranges::max(kLengths);
    const ProgramResult got = run_printed_cpp(graph, given, nullptr, longest ? "-O1" : "-O0");
    check_printed(graph, given, got, units_of(graph), "length " + std::to_string(length));
    expect_masks_of_both_kinds(got);
  }
}

TEST_P(PrintedStep, AsNumPyGivesTheEvaluatorsValuesAtThreeLengths) {
  FLOE_NEEDS_CPU();
  if (const std::string why = why_no_numpy(); !why.empty()) GTEST_SKIP() << why;
  const ModelConfig config = GetParam()();
  const Graph graph = step_with_masks(config);
  std::vector<PrintedCase> given;
  for (const int64_t length : kLengths) given.push_back(case_of(graph, config, length));
  const std::vector<ProgramResult> got = run_printed_numpy(graph, given);
  ASSERT_EQ(got.size(), given.size());
  for (size_t k = 0; k < given.size(); ++k) {
    check_printed(graph, given[k], got[k], units_of(graph), "length " + std::to_string(kLengths[k]));
    expect_masks_of_both_kinds(got[k]);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PrintedStep, testing::Values(&classic, &modern),
                         [](const auto& info) { return info.index == 0 ? "classic" : "modern"; });

}  // namespace
}  // namespace floe
