#include "passes/recompute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/op.h"
#include "ops/dropout/dropout.h"
#include "ops/elementwise/elementwise.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "passes/autodiff.h"
#include "passes/simplify_case_for_test.h"

namespace floe {
namespace {

constexpr int kLayers = 4;
constexpr int kModel = 4;

// h = h + dropout(linear(gelu(linear(layer_norm(h))))), differentiated by all weights.
Graph differentiated() {
  Graph graph(all_ops(), "layers");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {5, kModel}});
  const Value seed = b.input("seed", {DType::i32, {}});
  const Value ordinals = b.input("ordinals", {DType::i32, {5}});
  std::vector<std::string> names;
  const auto weight = [&](const std::string& name, Dims dims) {
    names.push_back(name);
    return b.state(name, {DType::f32, std::move(dims)});
  };
  Value h = x;
  for (int i = 0; i < kLayers; ++i) {
    const std::string layer = "layer." + std::to_string(i);
    const Builder::Scope scope(b, layer);
    const Value normed =
        layer_norm(b, h, weight(layer + ".gamma", {kModel}), weight(layer + ".beta", {kModel}), 1e-5);
    const Value inner = linear(b, normed, weight(layer + ".up", {3 * kModel, kModel}), {});
    const Value active = dropout(b, elementwise(b, "gelu", {inner}), seed, ordinals, 0.25);
    const Value out = linear(b, active, weight(layer + ".down", {kModel, 3 * kModel}), {});
    h = add(b, h, dropout(b, out, seed, ordinals, 0.25));
  }
  b.output("loss", reduce_sum(b, mul(b, h, h), {0, 1}, /*keep=*/false));
  Differentiated d = differentiate(graph, "loss", names);
  for (const std::string& name : names) d.graph.add_output("d." + name, d.gradients.at(name));
  return simplify(d.graph);
}

// Elements held, summed over the steps for which they are held, and the most held at once; inputs, states and
// constants are not counted.
struct Held {
  int64_t sum = 0;
  int64_t peak = 0;
};
Held held(const Graph& graph) {
  std::vector<int> last(static_cast<size_t>(graph.value_count()), -1);
  for (int i = 0; i < graph.node_count(); ++i) {
    for (const Value input : graph.node(i).inputs) last[static_cast<size_t>(input.id)] = i;
  }
  std::vector<int64_t> live(static_cast<size_t>(graph.node_count()), 0);
  Held result;
  for (int i = 0; i < graph.node_count(); ++i) {
    const Node& node = graph.node(i);
    if (node.inputs.empty()) continue;
    for (int k = 0; k < node.result_count(); ++k) {
      const int64_t size = node.types[static_cast<size_t>(k)].size().constant();
      for (int at = i; at <= last[static_cast<size_t>(node.result(k).id)]; ++at)
        live[static_cast<size_t>(at)] += size;
    }
  }
  for (const int64_t each : live) {
    result.sum += each;
    result.peak = std::max(result.peak, each);
  }
  return result;
}

void expect_same_bits_of_all(const Graph& before, const Graph& after) {
  verify(after, "recompute");
  RefMap inputs, states;
  double next = 0.1;
  const auto fill = [&](const NamedValue& entry, RefMap* map) {
    Shape shape;
    for (const Dim& dim : before.type(entry.value).dims) shape.push_back(dim.constant());
    RefTensor tensor(before.type(entry.value).dtype, shape);
    for (double& value : tensor.f) value = std::sin(next += 1.7);
    for (size_t i = 0; i < tensor.i.size(); ++i) tensor.i[i] = static_cast<int64_t>(i) + 3;
    (*map)[entry.name] = std::move(tensor);
  };
  for (const NamedValue& entry : before.inputs()) fill(entry, &inputs);
  for (const NamedValue& entry : before.states()) fill(entry, &states);
  const Evaluation want = evaluate(before, inputs, states);
  const Evaluation got = evaluate(after, inputs, states);
  ASSERT_EQ(got.outputs.size(), want.outputs.size());
  for (const auto& [name, value] : want.outputs) expect_same_bits(got.outputs.at(name), value, name);
}

int count_of(const Graph& graph, std::string_view op) {
  return static_cast<int>(
      std::ranges::count_if(graph.nodes(), [&](const Node& node) { return node.op->name == op; }));
}

TEST(Recompute, OfCheapValuesKeepsEveryBitAndHoldsLess) {
  const Graph before = differentiated();
  const Graph after = recompute(before, {});
  expect_same_bits_of_all(before, after);
  EXPECT_EQ(count_of(after, "matmul"), count_of(before, "matmul")) << "no product is computed again";
  // Of each layer the norm, gelu and inner dropout are computed again: all three read kept values.
  EXPECT_EQ(count_of(after, "gelu"), 2 * kLayers);
  EXPECT_EQ(count_of(after, "layer_norm"), 2 * kLayers);
  EXPECT_LT(held(after).sum, held(before).sum);
  EXPECT_LT(held(after).peak, held(before).peak);
}

TEST(Recompute, OfWholeLayersHoldsOnlyWhatFlowsIn) {
  const Graph before = differentiated();
  RecomputeOptions options{.cheap = false};
  for (int i = 0; i < kLayers; ++i) options.layers.push_back("layer." + std::to_string(i));
  const Graph after = recompute(before, options);
  expect_same_bits_of_all(before, after);
  EXPECT_LT(held(after).peak, held(before).peak);
  EXPECT_GT(count_of(after, "matmul"), count_of(before, "matmul"));
  // Each product at most once more: what flows between layers is kept.
  EXPECT_LE(count_of(after, "matmul"), count_of(before, "matmul") + 2 * kLayers);
  options.cheap = true;
  expect_same_bits_of_all(before, recompute(before, options));
  // One layer alone changes less.
  const Graph one = recompute(before, {.cheap = false, .layers = {"layer.1"}});
  expect_same_bits_of_all(before, one);
  EXPECT_EQ(count_of(one, "layer_norm"), kLayers + 1);
}

TEST(Recompute, IsNotUndoneBySharingEqualNodes) {
  const Graph after = recompute(differentiated(), {});
  EXPECT_EQ(print(merge_equal(after)), print(after));
}

TEST(Recompute, OfNothingChangesNothing) {
  const Graph before = differentiated();
  EXPECT_EQ(print(recompute(before, {.cheap = false})), print(before));
}

TEST(Recompute, NamesALayerThatDoesNotExist) {
  try {
    recompute(differentiated(), {.layers = {"layer.1", "layers.2"}});
    FAIL() << "an unknown layer was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::user);
    EXPECT_STREQ(e.what(), "[recompute] no layer 'layers.2'");
  }
}

}  // namespace
}  // namespace floe
