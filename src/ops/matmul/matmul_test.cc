#include "ops/matmul/matmul.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "device/cpu/thread_pool.h"
#include "ir/print.h"
#include "ops/all.h"
#include "passes/autodiff.h"
#include "testing/op_case.h"

namespace floe {
namespace {

struct Form {
  bool transpose_a = false, transpose_b = false, bias = false;
  std::string activation = "";
};

OpCase case_of(Shape a, Shape b, const Form& form = {}) {
  const int64_t n = form.transpose_b ? b[b.size() - 2] : b.back();
  const int64_t k = form.transpose_b ? b.back() : b[b.size() - 2];
  OpCase c{.op = "matmul",
           .inputs = {CaseInput::normal(std::move(a)), CaseInput::normal(std::move(b))},
           .attrs = {{"transpose_a", form.transpose_a},
                     {"transpose_b", form.transpose_b},
                     {"activation", form.activation}}};
  if (form.bias) c.inputs.push_back(CaseInput::normal({n}));
  // A sum of k terms of size 1 in order errs by less than k eps / 2 of their root sum of squares, which is
  // the result's rms; what rounding does in practice grows with sqrt(k).
  c.ulps = static_cast<double>(32 + k);
  return c;
}

TEST(Matmul, GivesTheProductInEveryForm) {
  check_kernel(case_of({37, 41}, {41, 101}));
  check_kernel(case_of({37, 41}, {101, 41}, {.transpose_b = true}));
  check_kernel(case_of({41, 37}, {41, 101}, {.transpose_a = true}));
  check_kernel(case_of({41, 37}, {101, 41}, {.transpose_a = true, .transpose_b = true}));
  check_kernel(case_of({1, 700}, {64, 700}, {.transpose_b = true}));
  check_kernel(case_of({70000, 2}, {2, 3}));
}

TEST(Matmul, FlattensLeadingDimsOrTakesBatches) {
  check_kernel(case_of({2, 3, 5, 7}, {7, 11}));
  check_kernel(case_of({2, 3, 5, 7}, {2, 3, 7, 11}));
  check_kernel(case_of({2, 3, 7, 5}, {2, 3, 11, 7}, {.transpose_a = true, .transpose_b = true}));
}

TEST(Matmul, AddsABiasAndAppliesAnActivation) {
  for (const char* name : {"", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh"}) {
    check_kernel(case_of({33, 20}, {51, 20}, {.transpose_b = true, .bias = true, .activation = name}));
    check_kernel(case_of({2, 2, 8}, {2, 8, 5}, {.activation = name}));
  }
}

TEST(Matmul, HandlesSizesOfZeroAndOne) {
  check_kernel(case_of({0, 4}, {4, 5}));
  check_kernel(case_of({3, 4}, {4, 0}));
  check_kernel(case_of({3, 0}, {0, 5}, {.bias = true, .activation = "relu"}));
  check_kernel(case_of({0, 3, 4}, {0, 4, 5}));
  check_kernel(case_of({1, 1}, {1, 1}));
}

TEST(Matmul, CarriesNanThroughAnActivation) {
  for (const char* name : {"", "relu", "gelu", "silu", "tanh"}) {
    OpCase c = case_of({3, 4}, {4, 18}, {.activation = name});
    Tensor a(DType::f32, {3, 4});
    a.set(5, std::numeric_limits<double>::quiet_NaN());
    a.set(0, 1);
    c.inputs[0] = CaseInput::of(std::move(a));
    check_kernel(c);
  }
}

TEST(Matmul, ARowHasTheSameBitsForAnyNumberOfRowsAndThreads) {
  Tensor whole(DType::f32, {257, 37});
  for (int64_t i = 0; i < whole.size(); ++i)
    whole.set(i, static_cast<double>((i * 7919) % 1009) / 1009 - 0.4);
  const auto rows = [&](int64_t m, int threads) {
    Tensor a(DType::f32, {m, 37});
    std::memcpy(a.data(), whole.data(), a.bytes());
    OpCase c = case_of({m, 37}, {101, 37}, {.transpose_b = true, .bias = true, .activation = "gelu"});
    c.inputs[1] = CaseInput::uniform({101, 37}, -1, 1);
    c.inputs[2] = CaseInput::uniform({101}, -1, 1);
    c.inputs[0] = CaseInput::of(std::move(a));
    c.threads = threads;
    return std::move(run_kernel(c)[0]);
  };
  const Tensor all = rows(257, 2);
  for (const int64_t m : {1, 2, 3, 7, 8, 31, 64, 257}) {
    for (const int threads : {1, 3}) {
      const Tensor part = rows(m, threads);
      EXPECT_EQ(std::memcmp(part.data(), all.data(), part.bytes()), 0)
          << m << " rows, " << threads << " threads";
    }
  }
}

TEST(Matmul, AFrozenWeightIsPackedOnceAndGivesTheSameBits) {
  const Attrs attrs{{"transpose_b", true}, {"activation", std::string("relu")}};
  const Kernel& kernel = kernels_of(DeviceKind::cpu).named(DeviceKind::cpu, "matmul.f32");
  ThreadPool pool(2);
  for (const int64_t m : {1, 150}) {
    Tensor a(DType::f32, {m, 70}), w(DType::f32, {45, 70}), plain(DType::f32, {m, 45}),
        packed(DType::f32, {m, 45});
    for (int64_t i = 0; i < a.size(); ++i) a.set(i, static_cast<double>(i % 17) / 17 - 0.5);
    for (int64_t i = 0; i < w.size(); ++i) w.set(i, static_cast<double>(i % 19) / 19 - 0.5);
    const std::vector<View> inputs{view_of(a), view_of(w)};
    const auto run = [&](uint32_t frozen, Tensor& result) {
      const std::vector<View> outputs{view_of(result)};
      const BoundKernel bound = kernel.bind({attrs, inputs, outputs, pool.threads(), frozen});
      EXPECT_EQ(bound.pack.input, frozen != 0 ? 1 : -1);
      Tensor form(DType::u8, {static_cast<int64_t>(bound.pack.bytes)});
      Tensor workspace(DType::u8, {static_cast<int64_t>(bound.workspace)});
      if (frozen != 0) bound.pack.make(inputs[1], form.data(), pool);
      bound.run({inputs, outputs, workspace.data(), &pool, frozen != 0 ? form.data() : nullptr});
    };
    run(0, plain);
    run(2, packed);
    EXPECT_EQ(std::memcmp(plain.data(), packed.data(), plain.bytes()), 0) << m;
  }
}

TEST(Matmul, HasAGradient) {
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      const Shape b = tb ? Shape{5, 4} : Shape{4, 5};
      check_gradient(case_of(ta ? Shape{4, 3} : Shape{3, 4}, b, {ta, tb, true}));
      check_gradient(
          case_of(ta ? Shape{2, 4, 3} : Shape{2, 3, 4}, tb ? Shape{2, 5, 4} : Shape{2, 4, 5}, {ta, tb}));
      if (!ta) check_gradient(case_of({2, 3, 4}, b, {ta, tb, true}));
    }
  }
  check_gradient(case_of({3, 4}, {4, 5}, {.bias = true, .activation = "gelu"}), 1e-5);
}

TEST(Matmul, HasAMeaning) {
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      check_meaning(case_of(ta ? Shape{4, 3} : Shape{3, 4}, tb ? Shape{5, 4} : Shape{4, 5}, {ta, tb}));
    }
  }
  check_meaning(case_of({2, 3, 4}, {4, 5}, {.bias = true, .activation = "silu"}));
  check_meaning(case_of({2, 3, 4}, {2, 4, 5}));
}

OpCase wide_case(bool bias) {
  OpCase c{.op = "matmul",
           .inputs = {CaseInput::normal({3, 4}, DType::bf16), CaseInput::normal({4, 5}, DType::bf16)},
           .attrs = {{"out", DType::f32}}};
  if (bias) c.inputs.push_back(CaseInput::normal({5}));
  return c;
}

TEST(Matmul, WidensWhatBf16OperandsGive) {
  check_meaning(wide_case(false));
  OpCase c = wide_case(true);
  c.attrs.set("activation", std::string("silu"));
  check_meaning(c);
  EXPECT_EQ(reference(c)[0].dtype, DType::f32);
  const KernelSignature signature{"matmul", {DType::bf16, DType::bf16}, {2, 2}, {DType::f32}, &c.attrs};
  EXPECT_EQ(kernels_of(DeviceKind::cpu).find(DeviceKind::cpu, signature), nullptr);
}

TEST(Matmul, TheGradientOfAWideProductIsRoundedForTheOperandsAlone) {
  const Graph graph = parse(all_ops(),
                            "graph \"g\" {\n"
                            "  %0 = input {dims = <3, 4>, dtype = bf16, name = \"a\"} : bf16[3, 4]\n"
                            "  %1 = input {dims = <4, 5>, dtype = bf16, name = \"b\"} : bf16[4, 5]\n"
                            "  %2 = input {dims = <5>, dtype = f32, name = \"c\"} : f32[5]\n"
                            "  %3 = matmul(%0, %1, %2) {out = f32} : f32[3, 5]\n"
                            "  %4 = mul(%3, %3) : f32[3, 5]\n"
                            "  %5 = reduce_sum(%4) {axes = [0, 1], keep = false} : f32[]\n"
                            "  return \"loss\" = %5\n"
                            "}\n");
  EXPECT_EQ(print(parse(all_ops(), print(graph))), print(graph));
  Differentiated d = differentiate(graph, "loss", {"a", "b", "c"});
  for (const char* name : {"a", "b", "c"}) d.graph.add_output(name, d.gradients.at(name));
  EXPECT_EQ(d.graph.type(d.gradients.at("a")).dtype, DType::bf16);
  EXPECT_EQ(d.graph.type(d.gradients.at("b")).dtype, DType::bf16);
  EXPECT_EQ(d.graph.type(d.gradients.at("c")).dtype, DType::f32);
  const std::vector<RefTensor> inputs = case_inputs(wide_case(true));
  const Evaluation at = evaluate(d.graph, {{"a", inputs[0]}, {"b", inputs[1]}, {"c", inputs[2]}}, {});
  const std::vector<RefTensor> product = reference(wide_case(true));
  const auto y = [&](size_t row, size_t column) { return product[0].f[row * 5 + column]; };
  for (size_t column = 0; column < 5; ++column) {  // dc = sum of rows of 2 y, nothing rounded
    EXPECT_NEAR(at.outputs.at("c").f[column], 2 * (y(0, column) + y(1, column) + y(2, column)), 1e-9);
  }
  for (size_t row = 0; row < 3; ++row) {  // da = bf16(2 y) b^T
    for (size_t k = 0; k < 4; ++k) {
      double sum = 0;
      for (size_t column = 0; column < 5; ++column) {
        sum += round_to(DType::bf16, 2 * y(row, column)) * inputs[1].f[k * 5 + column];
      }
      EXPECT_NEAR(at.outputs.at("a").f[row * 4 + k], sum, 1e-9);
    }
  }
}

TEST(Matmul, RefusesWhatDoesNotFit) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const auto message = [&](Dims x, Dims y, MatmulOptions options, Dims bias = {}) -> std::string {
    try {
      const Value a = b.input("a", {DType::f32, std::move(x)});
      const Value c = b.input("b", {DType::f32, std::move(y)});
      if (!bias.empty()) options.bias = b.input("bias", {DType::f32, std::move(bias)});
      matmul(b, a, c, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({2, 5}, {4, 3}, {}), "[matmul] inner dims differ: lhs f32[2, 5], rhs f32[4, 3]");
  EXPECT_EQ(message({5}, {5, 3}, {}), "[matmul] operands must have rank 2 or more, got f32[5] and f32[5, 3]");
  EXPECT_EQ(message({2, 5, 4}, {3, 4, 6}, {}),
            "[matmul] batch dims differ: lhs f32[2, 5, 4], rhs f32[3, 4, 6]");
  EXPECT_EQ(message({2, 4, 5}, {4, 6}, {.transpose_a = true}),
            "[matmul] transpose_a against a matrix needs a matrix, got f32[2, 4, 5]");
  EXPECT_EQ(message({2, 4}, {4, 6}, {}, {5}), "[matmul] bias must be f32[6], got f32[5]");
  EXPECT_EQ(message({2, 4}, {4, 6}, {.activation = "add"}),
            "[matmul] activation 'add' is no function of one floating operand");
  const auto refusal_of_out = [&](DType operands, DType out) -> std::string {
    try {
      const Value a = b.input("a", {operands, {2, 4}});
      const Value c = b.input("b", {operands, {4, 6}});
      b.add("matmul", {a, c}, {{"out", out}});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal_of_out(DType::f32, DType::bf16),
            "[matmul] out must be f32 or the operands' type, got bf16 for f32[2, 4]");
  EXPECT_EQ(refusal_of_out(DType::bf16, DType::i32),
            "[matmul] out must be f32 or the operands' type, got i32 for bf16[2, 4]");
}

TEST(Matmul, ShardsAsColumnsOrAsRows) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {2, 3, 8}});
  const Value w = b.input("w", {DType::f32, {4, 8}});
  const Value y = linear(b, x, w);
  const Node& node = graph.producer(y);
  const auto rule = [&](Placement a, Placement c) {
    return node.op->shard({node, {graph.type(x), graph.type(w)}, {a, c}});
  };
  EXPECT_EQ(rule({}, Placement::shard(0)).outputs[0], Placement::shard(2));
  EXPECT_EQ(rule({}, Placement::shard(1)).outputs[0], Placement::partial());
  EXPECT_EQ(rule({}, Placement::shard(1)).inputs[0], Placement::shard(2));
  EXPECT_EQ(rule(Placement::shard(0), {}).outputs[0], Placement::shard(0));
}

}  // namespace
}  // namespace floe
