#include "passes/autodiff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/evaluate.h"
#include "ir/op.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"

namespace floe {
namespace {

Graph graph_of(const std::string& statements, const OpTable& ops = all_ops()) {
  return parse(ops, "graph \"g\" {\n" + statements + "\n}\n");
}

// The graph with an output "d_NAME" for each variable.
Graph with_gradients(const Graph& graph, const std::vector<std::string>& wrt) {
  Differentiated d = differentiate(graph, "loss", wrt);
  for (const std::string& name : wrt) d.graph.add_output("d_" + name, d.gradients.at(name));
  verify(d.graph, "autodiff");
  return d.graph;
}

std::string refusal(const Graph& graph, const std::string& loss, const std::vector<std::string>& wrt) {
  try {
    differentiate(graph, loss, wrt);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::user);
    return e.what();
  }
  return "accepted";
}

RefTensor of(std::vector<double> values) {
  RefTensor tensor(DType::f32, {static_cast<int64_t>(values.size())});
  tensor.f = std::move(values);
  return tensor;
}

const char* kProduct =
    "%0 = input {dims = <3>, dtype = f32, name = \"x\"} : f32[3]\n"
    "%1 = state {dims = <3>, dtype = f32, name = \"w\"} : f32[3] @ \"layer\"\n"
    "%2 = mul(%0, %1) : f32[3] @ \"layer\"\n"
    "%3 = reduce_sum(%2) {axes = [0], keep = false} : f32[]\n";

TEST(Autodiff, AppendsTheBackwardPartAndSaysWhereItCameFrom) {
  EXPECT_EQ(print(with_gradients(graph_of(std::string(kProduct) + "return \"loss\" = %3"), {"w"})),
            print(graph_of(std::string(kProduct) + "%4 = constant {value = tensor f32 [] {1}} : f32[]\n"
                                                   "%5 = reshape(%4) {dims = <1>} : f32[1] @ \"backward\"\n"
                                                   "%6 = broadcast(%5) {dims = <3>} : f32[3] @ \"backward\"\n"
                                                   "%7 = mul(%6, %0) : f32[3] @ \"layer.backward\"\n"
                                                   "return \"loss\" = %3\nreturn \"d_w\" = %7")));
}

TEST(Autodiff, AddsUpTheGradientsOfSeveralUses) {
  // loss = sum(x * x + x): 2x + 1
  const Graph graph = graph_of(
      "%0 = input {dims = <3>, dtype = f32, name = \"x\"} : f32[3]\n%1 = mul(%0, %0) : f32[3]\n"
      "%2 = add(%1, %0) : f32[3]\n%3 = reduce_sum(%2) {axes = [0], keep = false} : f32[]\n"
      "return \"loss\" = %3");
  const Evaluation got = evaluate(with_gradients(graph, {"x"}), {{"x", of({1, -2, 0.5})}}, {});
  EXPECT_EQ(got.outputs.at("d_x").f, (std::vector<double>{3, -3, 2}));
}

TEST(Autodiff, GivesZerosForAVariableThatIsNotUsed) {
  const Graph graph = graph_of(std::string(kProduct) +
                               "%4 = state {dims = <2>, dtype = f32, name = \"idle\"} : f32[2]\n"
                               "return \"loss\" = %3");
  const Evaluation got = evaluate(with_gradients(graph, {"idle", "w"}), {{"x", of({1, 2, 3})}},
                                  {{"w", of({4, 5, 6})}, {"idle", of({7, 8})}});
  EXPECT_EQ(got.outputs.at("d_idle").f, (std::vector<double>{0, 0}));
  EXPECT_EQ(got.outputs.at("d_w").f, (std::vector<double>{1, 2, 3}));
}

TEST(Autodiff, OfALossThatDependsOnNothingGivesZeros) {
  const Graph graph = graph_of(
      "%0 = input {dims = <2>, dtype = f32, name = \"x\"} : f32[2]\n"
      "%1 = constant {value = tensor f32 [] {3}} : f32[]\nreturn \"loss\" = %1");
  EXPECT_EQ(evaluate(with_gradients(graph, {"x"}), {{"x", of({1, 2})}}, {}).outputs.at("d_x").f,
            (std::vector<double>{0, 0}));
}

TEST(Autodiff, OfTheVariableItselfIsOne) {
  const Graph graph =
      graph_of("%0 = input {dims = <>, dtype = f32, name = \"x\"} : f32[]\nreturn \"loss\" = %0");
  RefTensor x(DType::f32, {});
  EXPECT_EQ(evaluate(with_gradients(graph, {"x"}), {{"x", x}}, {}).outputs.at("d_x").f,
            (std::vector<double>{1}));
}

TEST(Autodiff, StopsAtOpsWithoutAGradient) {
  // x < 2 ? x : 0 passes the gradient only through the second operand; floor passes none.
  const Graph graph = graph_of(
      "%0 = input {dims = <3>, dtype = f32, name = \"x\"} : f32[3]\n"
      "%1 = constant {value = tensor f32 [] {2}} : f32[]\n%2 = lt(%0, %1) : bool[3]\n"
      "%3 = floor(%0) : f32[3]\n%4 = select(%2, %0, %3) : f32[3]\n"
      "%5 = reduce_sum(%4) {axes = [0], keep = false} : f32[]\nreturn \"loss\" = %5");
  EXPECT_EQ(evaluate(with_gradients(graph, {"x"}), {{"x", of({1, 2, 3})}}, {}).outputs.at("d_x").f,
            (std::vector<double>{1, 0, 0}));
}

TEST(Autodiff, SumsOverBroadcastDims) {
  const Graph graph = graph_of(
      "dim B in 1..9\n%0 = input {dims = <B, 2>, dtype = f32, name = \"x\"} : f32[B, 2]\n"
      "%1 = input {dims = <2>, dtype = f32, name = \"b\"} : f32[2]\n%2 = mul(%0, %1) : f32[B, 2]\n"
      "%3 = reduce_sum(%2) {axes = [0, 1], keep = false} : f32[]\nreturn \"loss\" = %3");
  RefTensor x(DType::f32, {3, 2});
  x.f = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ(evaluate(with_gradients(graph, {"b"}), {{"x", x}, {"b", of({1, 1})}}, {}).outputs.at("d_b").f,
            (std::vector<double>{9, 12}));
}

// An op with a meaning alone: y = exp(x) * 2, through another such op.
OpTable table_with_meanings() {
  OpTable table;
  define_all_ops(table);
  OpDef twice;
  twice.name = "twice_exp";
  twice.min_inputs = twice.max_inputs = 1;
  twice.infer = [](const InferArgs& args) { return args.inputs; };
  twice.meaning = [](Builder& b, const Node&, std::span<const Value> in) -> Values {
    return {b.add("double_it", {elementwise(b, "exp", {in[0]})})};
  };
  table.add(twice);
  OpDef doubled = twice;
  doubled.name = "double_it";
  doubled.meaning = [](Builder& b, const Node&, std::span<const Value> in) -> Values {
    return {add(b, in[0], in[0])};
  };
  table.add(doubled);
  OpDef opaque = twice;
  opaque.name = "opaque";
  opaque.meaning = nullptr;
  table.add(opaque);
  return table;
}

TEST(Autodiff, DifferentiatesTheMeaningOfAnOpThatHasNoGradient) {
  const OpTable table = table_with_meanings();
  const std::string text =
      "%0 = input {dims = <2>, dtype = f32, name = \"x\"} : f32[2]\n"
      "%1 = twice_exp(%0) : f32[2] @ \"layer\"\n%2 = twice_exp(%0) {stays = true} : f32[2]\n"
      "%3 = reduce_sum(%1) {axes = [0], keep = false} : f32[]\nreturn \"loss\" = %3\nreturn \"other\" = %2";
  const Graph graph = with_gradients(graph_of(text, table), {"x"});
  for (const Node& node : graph.nodes()) EXPECT_NE(node.op->name, "double_it");
  EXPECT_THAT(print(graph), testing::HasSubstr("exp(%0) : f32[2] @ \"layer\""));
  EXPECT_THAT(evaluate(graph, {{"x", of({0, 1})}}, {}).outputs.at("d_x").f,
              testing::ElementsAre(2, testing::DoubleNear(2 * std::exp(1.0), 1e-14)));
  // Off the variables' way the op stays what it is.
  const std::string constant =
      "%0 = input {dims = <2>, dtype = f32, name = \"x\"} : f32[2]\n"
      "%1 = input {dims = <2>, dtype = f32, name = \"c\"} : f32[2]\n%2 = twice_exp(%1) : f32[2]\n"
      "%3 = mul(%0, %2) : f32[2]\n%4 = reduce_sum(%3) {axes = [0], keep = false} : f32[]\nreturn \"loss\" = "
      "%4";
  EXPECT_THAT(print(with_gradients(graph_of(constant, table), {"x"})), testing::HasSubstr("twice_exp"));
}

TEST(Autodiff, RefusesWhatCannotBeDifferentiated) {
  const OpTable table = table_with_meanings();
  const Graph graph = graph_of(
      "%0 = input {dims = <2>, dtype = f32, name = \"x\"} : f32[2]\n"
      "%1 = input {dims = <2>, dtype = i32, name = \"ids\"} : i32[2]\n"
      "%2 = opaque(%0) : f32[2]\n%3 = reduce_sum(%2) {axes = [0], keep = false} : f32[]\n"
      "%4 = reduce_sum(%1) {axes = [0], keep = false} : i32[]\n"
      "return \"loss\" = %3\nreturn \"vector\" = %0\nreturn \"count\" = %4",
      table);
  EXPECT_EQ(refusal(graph, "nothing", {"x"}), "[autodiff] no output 'nothing'");
  EXPECT_EQ(refusal(graph, "vector", {"x"}),
            "[autodiff] the loss 'vector' must be a floating scalar, got f32[2]");
  EXPECT_EQ(refusal(graph, "count", {"x"}),
            "[autodiff] the loss 'count' must be a floating scalar, got i32[]");
  EXPECT_EQ(refusal(graph, "loss", {"y"}), "[autodiff] no state or input 'y'");
  EXPECT_EQ(refusal(graph, "loss", {"ids"}),
            "[autodiff] 'ids' is i32[2]: only floating variables have gradients");
  EXPECT_EQ(refusal(graph, "loss", {"x"}), "[autodiff] op 'opaque' has neither a gradient nor a meaning");
}

}  // namespace
}  // namespace floe
