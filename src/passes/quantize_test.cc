#include "passes/quantize.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/matmul/matmul.h"
#include "tensor/quantize.h"
#include "testing/op_case.h"
#include "testing/program_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

std::string text_of_graph(const std::string& statements) { return "graph \"g\" {\n" + statements + "}\n"; }

void expect_text(const Graph& graph, const std::string& statements) {
  verify(graph, "quantize");
  EXPECT_EQ(print(graph), text_of_graph(statements));
}

constexpr const char* kTied = R"(  %0 = input {dims = <2>, dtype = i32, name = "ids"} : i32[2]
  %1 = state {dims = <5, 4>, dtype = f32, name = "table", trainable = true} : f32[5, 4]
  %2 = state {dims = <5>, dtype = f32, name = "bias"} : f32[5]
  %3 = embedding(%1, %0) : f32[2, 4]
  %4 = matmul(%3, %1, %2) {activation = "relu", transpose_a = false, transpose_b = true} : f32[2, 5]
  return "y" = %4
)";

// One blob for both uses: rows by id, and columns of the product.
TEST(Quantize, ATiedTableIsOneStateOfCodesWithOneOfScales) {
  const Graph graph = quantize(parse(all_ops(), text_of_graph(kTied)), {{"table", InputScale::of_row}});
  expect_text(graph, R"(  %0 = input {dims = <2>, dtype = i32, name = "ids"} : i32[2]
  %1 = state {dims = <5, 4>, dtype = i8, name = "table", trainable = false} : i8[5, 4]
  %2 = state {dims = <5, 1>, dtype = f32, name = "table.scale", trainable = false} : f32[5, 1]
  %3 = state {dims = <5>, dtype = f32, name = "bias"} : f32[5]
  %4 = embedding(%1, %0) : i8[2, 4]
  %5 = embedding(%2, %0) : f32[2, 1]
  %6 = dequantize(%4, %5) : f32[2, 4]
  %7, %8 = quantize_rows(%6) : i8[2, 4], f32[2, 1]
  %9 = dequantize(%7, %8) : f32[2, 4]
  %10 = dequantize(%1, %2) : f32[5, 4]
  %11 = matmul(%9, %10, %3) {activation = "relu", transpose_a = false, transpose_b = true} : f32[2, 5]
  return "y" = %11
)");
  expect_text(use_int8_products(graph), R"(  %0 = input {dims = <2>, dtype = i32, name = "ids"} : i32[2]
  %1 = state {dims = <5, 4>, dtype = i8, name = "table", trainable = false} : i8[5, 4]
  %2 = state {dims = <5, 1>, dtype = f32, name = "table.scale", trainable = false} : f32[5, 1]
  %3 = state {dims = <5>, dtype = f32, name = "bias"} : f32[5]
  %4 = embedding(%1, %0) : i8[2, 4]
  %5 = embedding(%2, %0) : f32[2, 1]
  %6 = cast(%4) {dtype = f32} : f32[2, 4]
  %7 = mul(%6, %5) : f32[2, 4]
  %8, %9 = quantize_rows(%7) : i8[2, 4], f32[2, 1]
  %10 = matmul_int8(%8, %9, %1, %2, %3) {activation = "relu"} : f32[2, 5]
  return "y" = %10
)");
}

constexpr const char* kShared = R"(  %0 = input {dims = <2, 4>, dtype = f32, name = "x"} : f32[2, 4]
  %1 = state {dims = <3, 4>, dtype = f32, name = "q"} : f32[3, 4]
  %2 = state {dims = <3, 4>, dtype = f32, name = "k"} : f32[3, 4]
  %3 = matmul(%0, %1) {activation = "", transpose_a = false, transpose_b = true} : f32[2, 3]
  %4 = matmul(%0, %2) {activation = "", transpose_a = false, transpose_b = true} : f32[2, 3]
  return "a" = %3
  return "b" = %4
)";

int count_of(const Graph& graph, std::string_view op) {
  int count = 0;
  for (const Node& node : graph.nodes()) count += node.op->name == op ? 1 : 0;
  return count;
}

TEST(Quantize, WhatSeveralProductsReadIsQuantizedOnce) {
  const Graph given = parse(all_ops(), text_of_graph(kShared));
  const Graph graph =
      use_int8_products(quantize(given, {{"q", InputScale::of_row}, {"k", InputScale::of_row}}));
  EXPECT_EQ(count_of(graph, "quantize_rows"), 1);
  EXPECT_EQ(count_of(graph, "matmul_int8"), 2);
}

TEST(Quantize, AWeightThatIsNotPlannedStaysFloatWithItsInput) {
  const Graph given = parse(all_ops(), text_of_graph(kShared));
  expect_text(use_int8_products(quantize(given, {{"k", InputScale::fixed}})),
              R"(  %0 = input {dims = <2, 4>, dtype = f32, name = "x"} : f32[2, 4]
  %1 = state {dims = <3, 4>, dtype = f32, name = "q"} : f32[3, 4]
  %2 = state {dims = <3, 4>, dtype = i8, name = "k", trainable = false} : i8[3, 4]
  %3 = state {dims = <3, 1>, dtype = f32, name = "k.scale", trainable = false} : f32[3, 1]
  %4 = state {dims = <>, dtype = f32, name = "k.input_scale", trainable = false} : f32[]
  %5 = matmul(%0, %1) {activation = "", transpose_a = false, transpose_b = true} : f32[2, 3]
  %6 = quantize(%0, %4) : i8[2, 4]
  %7 = matmul_int8(%6, %4, %2, %3) : f32[2, 3]
  return "a" = %5
  return "b" = %7
)");
  expect_text(quantize(given, {}), std::string(kShared));
}

TEST(Quantize, AnyOtherReaderGetsTheWeightDequantized) {
  Graph given(all_ops(), "g");
  Builder b(given);
  const Value w = b.state("w", {DType::f32, {Dim(3), Dim(4)}});
  b.output("y", scale(b, w, 2));
  const Graph graph = use_int8_products(quantize(given, {{"w", InputScale::of_row}}));
  EXPECT_EQ(count_of(graph, "dequantize"), 0);
  EXPECT_EQ(count_of(graph, "mul"), 2);
}

// [rows, n] of random floats as states "w" and "w.scale".
void add_weight(TensorMap* states, const std::string& name, const Shape& shape, uint64_t seed) {
  QuantizedMatrix q = quantize_rows(random_tensor(DType::f32, shape, seed), name);
  (*states)[name] = share(std::move(q.codes));
  (*states)[scale_name(name)] = share(std::move(q.scales));
}

Graph two_layers() {
  Graph given(all_ops(), "g");
  Builder b(given);
  const Dim rows = given.symbols().declare("R");
  Value x = b.input("x", {DType::f32, {rows, Dim(40)}});
  x = linear(b, x, b.state("up.weight", {DType::f32, {Dim(70), Dim(40)}}),
             b.state("up.bias", {DType::f32, {Dim(70)}}));
  x = elementwise(b, "relu", {x});
  b.output("y", linear(b, x, b.state("down.weight", {DType::f32, {Dim(40), Dim(70)}})));
  return given;
}

TensorMap two_layer_states(uint64_t seed) {
  TensorMap states{{"up.bias", random_shared(DType::f32, {70}, seed + 2)}};
  add_weight(&states, "up.weight", {70, 40}, seed);
  add_weight(&states, "down.weight", {40, 70}, seed + 1);
  return states;
}

const QuantizePlan kBoth = {{"up.weight", InputScale::of_row}, {"down.weight", InputScale::of_row}};

// Of one layer: what comes in is the same, so the codes must be, and the sums differ by the roundings of
// float products only.
TEST(Quantize, FakeAndRealHaveTheSameCodes) {
  FLOE_NEEDS_CPU();
  Graph given(all_ops(), "g");
  Builder b(given);
  const Value x = b.input("x", {DType::f32, {Dim(8), Dim(40)}});
  b.output("y", linear(b, x, b.state("w", {DType::f32, {Dim(70), Dim(40)}})));
  const auto with_codes = [](Graph graph) {
    for (const Node& node : graph.nodes()) {
      if (node.op->name != "quantize_rows") continue;
      const Value codes = node.result(0), scales = node.result(1);
      graph.add_output("codes", codes);
      graph.add_output("scales", scales);
      break;
    }
    return graph;
  };
  const Graph fake = quantize(given, {{"w", InputScale::of_row}});
  const Graph real = use_int8_products(fake);
  TensorMap states;
  add_weight(&states, "w", {70, 40}, 3);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const TensorMap inputs{{"x", random_shared(DType::f32, {8, 40}, seed)}};
    const ProgramResult a = run_program(with_codes(fake), inputs, states);
    const ProgramResult r = run_program(with_codes(real), inputs, states);
    for (const char* name : {"codes", "scales"}) {
      const Tensor &want = *a.outputs.at(name), &got = *r.outputs.at(name);
      for (int64_t i = 0; i < want.size(); ++i)
        ASSERT_EQ(got.at(i), want.at(i)) << name << " of seed " << seed;
    }
    expect_close(*r.outputs.at("y"), ref_of(*a.outputs.at("y")), 32, "y");
  }
}

TEST(Quantize, RunsAsTheReferenceDoes) {
  const Graph real = use_int8_products(quantize(two_layers(), kBoth));
  for (const int64_t rows : {1, 17})
    check_program(real, {{"x", random_shared(DType::f32, {rows, 40}, 9)}}, two_layer_states(4), 64);
}

// By the size of a step: x and w each err by at most half of one, of the row's largest over 127.
TEST(Quantize, StaysNearTheFloatModel) {
  FLOE_NEEDS_CPU();
  TensorMap states = two_layer_states(4);
  TensorMap floats = states;
  for (const char* name : {"up.weight", "down.weight"})
    floats[name] = share(dequantize_rows(*states.at(name), *states.at(scale_name(name))));
  const TensorMap inputs{{"x", random_shared(DType::f32, {64, 40}, 11)}};
  const ProgramResult plain = run_program(two_layers(), inputs, floats);
  const Tensor& want = *plain.outputs.at("y");
  const ProgramResult result = run_program(use_int8_products(quantize(two_layers(), kBoth)), inputs, states);
  const Tensor& got = *result.outputs.at("y");
  double signal = 0, noise = 0;
  for (int64_t i = 0; i < want.size(); ++i) {
    signal += want.at(i) * want.at(i);
    noise += (got.at(i) - want.at(i)) * (got.at(i) - want.at(i));
  }
  // Two roundings of activations to steps of about 3 / 127 of a standard deviation, each of variance 1/12.
  EXPECT_LT(noise, signal * 4 * (3.5 / 127) * (3.5 / 127) / 12);
}

TEST(Quantize, RefusesAWeightThatTheGraphUpdates) {
  Graph given(all_ops(), "g");
  Builder b(given);
  const Value w = b.state("w", {DType::f32, {Dim(3), Dim(4)}});
  b.update("w", scale(b, w, 2));
  try {
    quantize(given, {{"w", InputScale::of_row}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("'w' is updated, so it cannot be INT8"), std::string::npos);
  }
}

}  // namespace
}  // namespace floe
