#include "passes/bias_gradients.h"

#include <gtest/gtest.h>

#include "ir/evaluate.h"
#include "ir/op.h"
#include "ir/print.h"
#include "ops/all.h"

namespace floe {
namespace {

bool always(const Graph&, const Node&) { return true; }

Graph graph_of(const std::string& statements) {
  return parse(all_ops(), "graph \"g\" {\n" + statements + "}\n");
}
std::string joined(const std::string& statements) {
  return print(join_bias_gradients(graph_of(statements), always));
}
std::string text(const std::string& statements) { return print(graph_of(statements)); }

const char* kOperands =
    "  %0 = input {dims = <4, 3>, dtype = bf16, name = \"x\"} : bf16[4, 3]\n"
    "  %1 = input {dims = <4, 2>, dtype = bf16, name = \"dy\"} : bf16[4, 2]\n";

// The cast that read the rounded sum reads the f32 one.
TEST(BiasGradients, ASumOfTheRowsOfDyJoinsTheProductOfDyAndX) {
  const std::string operands = kOperands;
  EXPECT_EQ(joined(operands + "  %2 = matmul(%1, %0) {out = f32, transpose_a = true} : f32[2, 3]\n"
                              "  %3 = reduce_sum(%1) {axes = [0], keep = false} : bf16[2]\n"
                              "  %4 = cast(%3) {dtype = f32} : f32[2]\n"
                              "  return \"dw\" = %2\n"
                              "  return \"db\" = %4\n"),
            text(operands + "  %2, %3 = linear_grad(%0, %1) {input_first = false} : f32[2, 3], f32[2]\n"
                            "  return \"dw\" = %2\n"
                            "  return \"db\" = %3\n"));
}

TEST(BiasGradients, AWeightThatIsStoredTheOtherWayHasItsOperandsTheOtherWay) {
  const std::string operands = kOperands;
  EXPECT_EQ(joined(operands + "  %2 = matmul(%0, %1) {out = f32, transpose_a = true} : f32[3, 2]\n"
                              "  %3 = reduce_sum(%1) {axes = [0], keep = false} : bf16[2]\n"
                              "  %4 = cast(%3) {dtype = f32} : f32[2]\n"
                              "  return \"dw\" = %2\n"
                              "  return \"db\" = %4\n"),
            text(operands + "  %2, %3 = linear_grad(%0, %1) {input_first = true} : f32[3, 2], f32[2]\n"
                            "  return \"dw\" = %2\n"
                            "  return \"db\" = %3\n"));
}

// The product reads the rows of all batches as one matrix, the sum the batches; another reader has the bf16
// sum, rounded once.
TEST(BiasGradients, ReshapesBetweenAreSeenThrough) {
  const std::string operands =
      "  %0 = input {dims = <B, S, 3>, dtype = bf16, name = \"x\"} : bf16[B, S, 3]\n"
      "  %1 = input {dims = <B, S, 2>, dtype = bf16, name = \"dy\"} : bf16[B, S, 2]\n"
      "  %2 = reshape(%0) {dims = <B*S, 3>} : bf16[B*S, 3]\n"
      "  %3 = reshape(%1) {dims = <B*S, 2>} : bf16[B*S, 2]\n";
  const std::string dims = "  dim B in 1..8\n  dim S in 1..9\n";
  EXPECT_EQ(joined(dims + operands +
                   "  %4 = matmul(%3, %2) {out = f32, transpose_a = true} : f32[2, 3]\n"
                   "  %5 = reduce_sum(%1) {axes = [0, -2], keep = false} : bf16[2]\n"
                   "  %6 = neg(%5) : bf16[2]\n"
                   "  return \"dw\" = %4\n"
                   "  return \"y\" = %6\n"),
            text(dims + operands +
                 "  %4, %5 = linear_grad(%2, %3) {input_first = false} : f32[2, 3], f32[2]\n"
                 "  %6 = cast(%5) {dtype = bf16} : bf16[2]\n"
                 "  %7 = neg(%6) : bf16[2]\n"
                 "  return \"dw\" = %4\n"
                 "  return \"y\" = %7\n"));
}

TEST(BiasGradients, WhatIsNoPairStaysAsItIs) {
  const std::string operands = kOperands;
  const std::string product = "  %2 = matmul(%1, %0) {out = f32, transpose_a = true} : f32[2, 3]\n";
  const std::string sum = "  %3 = reduce_sum(%1) {axes = [0], keep = false} : bf16[2]\n";
  const std::string end = "  return \"dw\" = %2\n  return \"db\" = %3\n";
  for (const std::string& statements : {
           // a sum along rows; one of other elements
           product + "  %3 = reduce_sum(%1) {axes = [1], keep = false} : bf16[4]\n" + end,
           product + "  %3 = reduce_sum(%1) {axes = [0], keep = true} : bf16[1, 2]\n" + end,
           product + "  %3 = reduce_sum(%1) {axes = [0, 1], keep = false} : bf16[]\n" + end,
           product + "  %3 = reshape(%1) {dims = <2, 4>} : bf16[2, 4]\n"
                     "  %4 = reduce_sum(%3) {axes = [0], keep = false} : bf16[4]\n"
                     "  return \"dw\" = %2\n  return \"db\" = %4\n",
           product + "  %3 = reduce_max(%1) {axes = [0], keep = false} : bf16[2]\n" + end,
           // a product that is rounded, or has more than two operands to it
           "  %2 = matmul(%1, %0) {transpose_a = true} : bf16[2, 3]\n" + sum + end,
           "  %2 = matmul(%1, %0) {activation = \"relu\", out = f32, transpose_a = true} : f32[2, 3]\n" +
               sum + end,
           // dy is contracted along its columns
           "  %2 = matmul(%1, %1) {out = f32, transpose_b = true} : f32[4, 4]\n" + sum + end,
           // the sum comes first
           "  %2 = reduce_sum(%1) {axes = [0], keep = false} : bf16[2]\n"
           "  %3 = matmul(%1, %0) {out = f32, transpose_a = true} : f32[2, 3]\n" +
               end,
       }) {
    EXPECT_EQ(joined(operands + statements), text(operands + statements));
  }
}

TEST(BiasGradients, OneProductTakesTheSumAndTheOthersStay) {
  const std::string operands = kOperands;
  EXPECT_EQ(joined(operands + "  %2 = matmul(%1, %0) {out = f32, transpose_a = true} : f32[2, 3]\n"
                              "  %3 = matmul(%1, %1) {out = f32, transpose_a = true} : f32[2, 2]\n"
                              "  %4 = reduce_sum(%1) {axes = [0], keep = false} : bf16[2]\n"
                              "  return \"dw\" = %2\n"
                              "  return \"other\" = %3\n"
                              "  return \"db\" = %4\n"),
            text(operands + "  %2, %3 = linear_grad(%0, %1) {input_first = false} : f32[2, 3], f32[2]\n"
                            "  %4 = matmul(%1, %1) {out = f32, transpose_a = true} : f32[2, 2]\n"
                            "  %5 = cast(%3) {dtype = bf16} : bf16[2]\n"
                            "  return \"dw\" = %2\n"
                            "  return \"other\" = %4\n"
                            "  return \"db\" = %5\n"));
}

TEST(BiasGradients, WithoutAKernelNothingChanges) {
  const std::string statements = std::string(kOperands) +
                                 "  %2 = matmul(%1, %0) {out = f32, transpose_a = true} : f32[2, 3]\n"
                                 "  %3 = reduce_sum(%1) {axes = [0], keep = false} : bf16[2]\n"
                                 "  return \"dw\" = %2\n"
                                 "  return \"db\" = %3\n";
  int asked = 0;
  const Graph after = join_bias_gradients(graph_of(statements), [&](const Graph& graph, const Node& node) {
    EXPECT_EQ(node.op->name, "linear_grad");
    EXPECT_EQ(graph.type(node.inputs[1]).dtype, DType::bf16);
    ++asked;
    return false;
  });
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(print(after), text(statements));
}

TEST(BiasGradients, TheValuesAreTheSame) {
  const Graph before = graph_of(
      "  %0 = input {dims = <2, 4, 3>, dtype = f32, name = \"x\"} : f32[2, 4, 3]\n"
      "  %1 = input {dims = <2, 4, 2>, dtype = f32, name = \"dy\"} : f32[2, 4, 2]\n"
      "  %2 = reshape(%0) {dims = <8, 3>} : f32[8, 3]\n"
      "  %3 = reshape(%1) {dims = <8, 2>} : f32[8, 2]\n"
      "  %4 = matmul(%2, %3) {transpose_a = true} : f32[3, 2]\n"
      "  %5 = reduce_sum(%1) {axes = [0, 1], keep = false} : f32[2]\n"
      "  return \"dw\" = %4\n"
      "  return \"db\" = %5\n");
  const Graph after = join_bias_gradients(before, always);
  EXPECT_EQ(after.node_count(), before.node_count() - 1);
  RefMap inputs;
  for (const char* name : {"x", "dy"}) {
    RefTensor tensor(DType::f32, {2, 4, name[0] == 'x' ? 3 : 2});
    for (size_t i = 0; i < tensor.f.size(); ++i) tensor.f[i] = static_cast<double>(i * 7 % 11) - 4;
    inputs[name] = std::move(tensor);
  }
  const Evaluation want = evaluate(before, inputs, {}), got = evaluate(after, inputs, {});
  for (const char* name : {"dw", "db"}) EXPECT_EQ(got.outputs.at(name).f, want.outputs.at(name).f) << name;
}

}  // namespace
}  // namespace floe
