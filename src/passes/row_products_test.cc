#include "passes/row_products.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/evaluate.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "passes/mixed_precision.h"
#include "passes/simplify.h"

namespace floe {
namespace {

bool low(const Graph& graph, const Node& node) { return graph.type(node.inputs[0]).dtype == DType::bf16; }

std::string text_of_graph(const std::string& statements) { return "graph \"g\" {\n" + statements + "}\n"; }

RefMap values_for(const Graph& graph, const std::vector<NamedValue>& names, double start) {
  RefMap values;
  for (const NamedValue& name : names) {
    Shape shape;
    for (const Dim& dim : graph.type(name.value).dims) shape.push_back(dim.constant());
    RefTensor tensor(graph.type(name.value).dtype, shape);
    for (size_t i = 0; i < tensor.f.size(); ++i) tensor.f[i] = std::sin(start++);
    values[name.name] = std::move(tensor);
  }
  return values;
}

// Text after, and the same values in double but for roundings: the evaluator rounds where a cast stands,
// which is elsewhere before and after. One on each side errs by at most 2^-9 of a value.
void expect_merged(const std::string& before, const std::string& after, const SupportsNode& supports = low) {
  const Graph given = parse(all_ops(), text_of_graph(before));
  const Graph merged = merge_row_products(given, supports);
  verify(merged, "row_products");
  EXPECT_EQ(print(merged), text_of_graph(after));
  const RefMap inputs = values_for(given, given.inputs(), 1), states = values_for(given, given.states(), 2);
  const auto run = [&](const Graph& graph) { return evaluate(graph, inputs, states, {}).outputs; };
  const auto want = run(given), got = run(merged);
  for (const auto& [name, tensor] : want) {
    double most = 0;
    for (const double x : tensor.f) most = std::max(most, std::fabs(x));
    for (size_t i = 0; i < tensor.f.size(); ++i)
      ASSERT_NEAR(got.at(name).f[i], tensor.f[i], 0x1p-8 * most) << name;
  }
}

constexpr const char* kDoor = R"(  %0 = input {dims = <2, 8>, dtype = bf16, name = "x"} : bf16[2, 8]
  %1 = input {dims = <2, 4>, dtype = bf16, name = "r"} : bf16[2, 4]
  %2 = state {dims = <4, 8>, dtype = bf16, name = "w"} : bf16[4, 8]
  %3 = state {dims = <4>, dtype = bf16, name = "bias"} : bf16[4]
  %4 = state {dims = <8>, dtype = f32, name = "gamma"} : f32[8]
)";

TEST(RowProducts, TakesNormBiasActivationAndResidualIntoOne) {
  expect_merged(
      std::string(kDoor) + R"(  %5 = rms_norm(%0, %4) {eps = 1e-05} : bf16[2, 8]
  %6 = matmul(%5, %2, %3) {activation = "relu", transpose_b = true} : bf16[2, 4]
  %7 = cast(%6) {dtype = f32} : f32[2, 4]
  %8 = cast(%1) {dtype = f32} : f32[2, 4]
  %9 = add(%8, %7) : f32[2, 4]
  %10 = cast(%9) {dtype = bf16} : bf16[2, 4]
  return "y" = %10
)",
      std::string(kDoor) +
          R"(  %5 = row_linear(%0, %2, %4, %3, %1) {activation = "relu", bias = true, eps = 1e-05, norm = "rms_norm", out = bf16, residual = true} : bf16[2, 4]
  return "y" = %5
)");
}

// After a post-norm layer: what follows reads the normed rows as its residual.
TEST(RowProducts, ANormThatOthersReadTooIsAResultBesideTheProduct) {
  expect_merged(std::string(kDoor) + R"(  %5 = rms_norm(%0, %4) {eps = 1e-05} : bf16[2, 8]
  %6 = cast(%5) {dtype = f32} : f32[2, 8]
  %7 = matmul(%5, %2) {transpose_b = true} : bf16[2, 4]
  %8 = neg(%6) : f32[2, 8]
  return "y" = %7
  return "z" = %8
)",
                R"(  %0 = input {dims = <2, 8>, dtype = bf16, name = "x"} : bf16[2, 8]
  %1 = input {dims = <2, 4>, dtype = bf16, name = "r"} : bf16[2, 4]
  %2 = state {dims = <4, 8>, dtype = bf16, name = "w"} : bf16[4, 8]
  %3 = state {dims = <8>, dtype = f32, name = "gamma"} : f32[8]
  %4, %5 = row_linear(%0, %2, %3) {eps = 1e-05, keep_norm = true, norm = "rms_norm", out = bf16} : bf16[2, 4], bf16[2, 8]
  %6 = cast(%5) {dtype = f32} : f32[2, 8]
  %7 = neg(%6) : f32[2, 8]
  return "y" = %4
  return "z" = %7
)");
}

// The residual comes from the norm itself: it cannot be an operand of what makes it.
TEST(RowProducts, ANormThatTheResidualNeedsStaysBeforeTheProduct) {
  const std::string door = R"(  %0 = input {dims = <2, 8>, dtype = bf16, name = "x"} : bf16[2, 8]
  %1 = state {dims = <8, 8>, dtype = bf16, name = "w"} : bf16[8, 8]
  %2 = state {dims = <8>, dtype = f32, name = "gamma"} : f32[8]
  %3 = rms_norm(%0, %2) {eps = 1e-05} : bf16[2, 8]
)";
  expect_merged(door + R"(  %4 = matmul(%3, %1) {transpose_b = true} : bf16[2, 8]
  %5 = cast(%4) {dtype = f32} : f32[2, 8]
  %6 = cast(%3) {dtype = f32} : f32[2, 8]
  %7 = add(%6, %5) : f32[2, 8]
  return "y" = %7
)",
                door +
                    R"(  %4 = row_linear(%3, %1, %3) {out = f32, residual = true} : f32[2, 8]
  return "y" = %4
)");
}

TEST(RowProducts, LooksThroughAReshapeThatKeepsRows) {
  const std::string door = R"(  %0 = input {dims = <2, 1, 8>, dtype = bf16, name = "x"} : bf16[2, 1, 8]
  %1 = state {dims = <4, 8>, dtype = bf16, name = "w"} : bf16[4, 8]
  %2 = state {dims = <8>, dtype = f32, name = "gamma"} : f32[8]
  %3 = state {dims = <8>, dtype = f32, name = "beta"} : f32[8]
)";
  expect_merged(door + R"(  %4 = layer_norm(%0, %2, %3) {eps = 1e-05} : bf16[2, 1, 8]
  %5 = reshape(%4) {dims = <2, 8>} : bf16[2, 8]
  %6 = matmul(%5, %1) {transpose_b = true} : bf16[2, 4]
  %7 = cast(%6) {dtype = f32} : f32[2, 4]
  return "logits" = %7
)",
                door + R"(  %4 = reshape(%0) {dims = <2, 8>} : bf16[2, 8]
  %5 = row_linear(%4, %1, %2, %3) {eps = 1e-05, norm = "layer_norm", out = f32} : f32[2, 4]
  return "logits" = %5
)");
  const std::string cut = door + R"(  %4 = layer_norm(%0, %2, %3) {eps = 1e-05} : bf16[2, 1, 8]
  %5 = reshape(%4) {dims = <4, 4>} : bf16[4, 4]
  %6 = input {dims = <3, 4>, dtype = bf16, name = "v"} : bf16[3, 4]
  %7 = matmul(%5, %6) {transpose_b = true} : bf16[4, 3]
  return "y" = %7
)";
  const Graph merged = merge_row_products(parse(all_ops(), text_of_graph(cut)), low);
  EXPECT_NE(print(merged).find("= layer_norm("), std::string::npos);
  EXPECT_NE(print(merged).find("= row_linear("), std::string::npos);
}

// A group reads bf16 and widens it in registers.
TEST(RowProducts, WhatAGroupWillReadStaysBf16) {
  expect_merged(std::string(kDoor) + R"(  %5 = matmul(%0, %2, %3) {transpose_b = true} : bf16[2, 4]
  %6 = cast(%5) {dtype = f32} : f32[2, 4]
  %7 = neg(%6) : f32[2, 4]
  return "y" = %7
)",
                R"(  %0 = input {dims = <2, 8>, dtype = bf16, name = "x"} : bf16[2, 8]
  %1 = input {dims = <2, 4>, dtype = bf16, name = "r"} : bf16[2, 4]
  %2 = state {dims = <4, 8>, dtype = bf16, name = "w"} : bf16[4, 8]
  %3 = state {dims = <4>, dtype = bf16, name = "bias"} : bf16[4]
  %4 = row_linear(%0, %2, %3) {bias = true, out = bf16} : bf16[2, 4]
  %5 = cast(%4) {dtype = f32} : f32[2, 4]
  %6 = neg(%5) : f32[2, 4]
  return "y" = %6
)");
}

TEST(RowProducts, LeavesWhatNoKernelTakes) {
  const std::string text = R"(  %0 = input {dims = <2, 8>, dtype = f32, name = "x"} : f32[2, 8]
  %1 = input {dims = <4, 8>, dtype = f32, name = "w"} : f32[4, 8]
  %2 = input {dims = <2, 4>, dtype = bf16, name = "a"} : bf16[2, 4]
  %3 = input {dims = <4, 8>, dtype = bf16, name = "b"} : bf16[4, 8]
  %4 = matmul(%0, %1) {transpose_b = true} : f32[2, 4]
  %5 = matmul(%2, %3) : bf16[2, 8]
  return "y" = %4
  return "z" = %5
)";
  expect_merged(text, text);
  // A kernel for the product, none with the norm.
  const std::string normed = std::string(kDoor) + R"(  %5 = rms_norm(%0, %4) {eps = 1e-05} : bf16[2, 8]
  %6 = matmul(%5, %2) {transpose_b = true} : bf16[2, 4]
  return "y" = %6
)";
  const Graph merged =
      merge_row_products(parse(all_ops(), text_of_graph(normed)),
                         [](const Graph&, const Node& node) { return node.attrs.text("norm", "").empty(); });
  EXPECT_NE(print(merged).find("= rms_norm("), std::string::npos);
  EXPECT_NE(print(merged).find("= row_linear("), std::string::npos);
}

// A layer in f32, lowered, and the product after it: nothing is left beside the merged products but the casts
// of inputs and weights, and of what leaves.
TEST(RowProducts, APreNormLayerInMixedPrecisionIsItsProducts) {
  const std::string layer = R"(  %0 = input {dims = <2, 8>, dtype = f32, name = "x"} : f32[2, 8]
  %1 = state {dims = <8>, dtype = f32, name = "gamma"} : f32[8]
  %2 = state {dims = <6, 8>, dtype = f32, name = "up"} : f32[6, 8]
  %3 = state {dims = <8, 6>, dtype = f32, name = "down"} : f32[8, 6]
  %4 = rms_norm(%0, %1) {eps = 1e-05} : f32[2, 8]
  %5 = matmul(%4, %2) {activation = "gelu", transpose_b = true} : f32[2, 6]
  %6 = matmul(%5, %3) {transpose_b = true} : f32[2, 8]
  %7 = add(%0, %6) : f32[2, 8]
  %8 = rms_norm(%7, %1) {eps = 1e-05} : f32[2, 8]
  %9 = matmul(%8, %2) {transpose_b = true} : f32[2, 6]
  return "y" = %9
)";
  const Graph lowered = simplify(mixed_precision(parse(all_ops(), text_of_graph(layer))));
  const Graph merged = simplify(merge_row_products(lowered, low));
  int products = 0;
  for (const Node& node : merged.nodes()) {
    products += node.op->name == "row_linear";
    if (node.op->name == "cast") {
      EXPECT_NE(merged.producer(node.inputs[0]).op->name, "row_linear");
    }
    EXPECT_NE(node.op->name, "rms_norm");
    EXPECT_NE(node.op->name, "add");
  }
  EXPECT_EQ(products, 3);
}

}  // namespace
}  // namespace floe
