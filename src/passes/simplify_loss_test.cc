// A loss whose gradient is in the graph as well is computed once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/linear_cross_entropy/linear_cross_entropy.h"
#include "passes/autodiff.h"
#include "passes/simplify_case_for_test.h"

namespace floe {
namespace {

Graph classifier() {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {3, 4}});
  const Value targets = b.input("targets", {DType::i32, {3}});
  const Value weight = b.state("w", {DType::f32, {5, 4}});
  const CrossEntropySums sums =
      linear_cross_entropy(b, {.x = x, .weight = weight, .targets = targets, .label_smoothing = 0.1});
  b.output("loss", sums.loss);
  b.output("nll", sums.nll);
  b.output("tokens", sums.tokens);
  return graph;
}

std::vector<std::string> ops_of(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes()) {
    if (!node.inputs.empty()) names.push_back(node.op->name);
  }
  return names;
}

TEST(Simplify, TakesALossFromItsGradient) {
  Differentiated d = differentiate(classifier(), "loss", {"w"});
  d.graph.add_output("dw", d.gradients.at("w"));
  const Graph after = simplify(d.graph);
  verify(after, "simplify");
  EXPECT_THAT(ops_of(after), testing::ElementsAre("linear_cross_entropy_grad"));
  RefTensor x(DType::f32, {3, 4}), w(DType::f32, {5, 4}), targets(DType::i32, {3});
  for (size_t i = 0; i < x.f.size(); ++i) x.f[i] = std::sin(static_cast<double>(i));
  for (size_t i = 0; i < w.f.size(); ++i) w.f[i] = std::cos(static_cast<double>(i));
  targets.i = {1, 4, 0};
  const Evaluation want = evaluate(d.graph, {{"x", x}, {"targets", targets}}, {{"w", w}});
  const Evaluation got = evaluate(after, {{"x", x}, {"targets", targets}}, {{"w", w}});
  for (const auto& [name, value] : want.outputs) expect_same_bits(got.outputs.at(name), value, name);
}

TEST(Simplify, LeavesALossWhoseGradientIsOfOtherOperands) {
  Graph graph = classifier();
  Builder b(graph);
  const Value other = b.input("other", {DType::f32, {3, 4}});
  const LinearCrossEntropy args{.x = other,
                                .weight = graph.states()[0].value,
                                .targets = graph.inputs()[1].value,
                                .label_smoothing = 0.1};
  b.output("dx", linear_cross_entropy_grad(b, args).dx);
  LinearCrossEntropy smoother = args;
  smoother.x = graph.inputs()[0].value;
  smoother.label_smoothing = 0.2;
  b.output("dx2", linear_cross_entropy_grad(b, smoother).dx);
  EXPECT_EQ(print(simplify(graph)), print(graph));
}

}  // namespace
}  // namespace floe
