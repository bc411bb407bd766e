#include "ops/linear_grad/linear_grad.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

OpCase case_of(int64_t rows, int64_t in, int64_t out, bool input_first) {
  return {.op = "linear_grad",
          .inputs = {CaseInput::normal({rows, in}), CaseInput::normal({rows, out})},
          .attrs = {{"input_first", input_first}}};
}

TEST(LinearGrad, IsTheProductAndTheSumOfRows) {
  for (const bool input_first : {false, true}) {
    const OpCase c = case_of(5, 3, 2, input_first);
    const std::vector<RefTensor> inputs = case_inputs(c), results = reference(c);
    EXPECT_EQ(results[0].shape, (input_first ? Shape{3, 2} : Shape{2, 3}));
    EXPECT_EQ(results[1].shape, (Shape{2}));
    for (size_t o = 0; o < 2; ++o) {
      double dbias = 0;
      for (size_t row = 0; row < 5; ++row) dbias += inputs[1].f[row * 2 + o];
      EXPECT_NEAR(results[1].f[o], dbias, 1e-12);
      for (size_t i = 0; i < 3; ++i) {
        double dweight = 0;
        for (size_t row = 0; row < 5; ++row) dweight += inputs[0].f[row * 3 + i] * inputs[1].f[row * 2 + o];
        EXPECT_NEAR(results[0].f[input_first ? i * 2 + o : o * 3 + i], dweight, 1e-12);
      }
    }
  }
}

TEST(LinearGrad, OfNoRowsIsZero) {
  const std::vector<RefTensor> results = reference(case_of(0, 2, 3, false));
  EXPECT_EQ(results[0].f, std::vector<double>(6, 0));
  EXPECT_EQ(results[1].f, std::vector<double>(3, 0));
}

TEST(LinearGrad, HasAGradient) {
  check_gradient(case_of(4, 3, 2, false));
  check_gradient(case_of(4, 3, 2, true));
}

TEST(LinearGrad, SumsAreF32OfTwoByteOperandsAndF64OfF64) {
  for (const auto& [operands, sums] : {std::pair{DType::bf16, DType::f32},
                                       {DType::f16, DType::f32},
                                       {DType::f32, DType::f32},
                                       {DType::f64, DType::f64}}) {
    Graph graph(all_ops(), "g");
    Builder b(graph);
    const LinearGrads grads =
        linear_grad(b, b.input("x", {operands, {4, 3}}), b.input("dy", {operands, {4, 2}}));
    EXPECT_EQ(text_of(b.type(grads.dweight)), text_of(Type{sums, {2, 3}}));
    EXPECT_EQ(text_of(b.type(grads.dbias)), text_of(Type{sums, {2}}));
  }
}

TEST(LinearGrad, RefusesOperandsThatDoNotFit) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {4, 3}});
  const auto refused = [&](Value dy) -> std::string {
    try {
      linear_grad(b, x, dy);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refused(b.input("rows", {DType::f32, {5, 2}})),
            "[linear_grad] numbers of rows differ: x f32[4, 3], dy f32[5, 2]");
  EXPECT_EQ(refused(b.input("type", {DType::bf16, {4, 2}})),
            "[linear_grad] operands must have one type, got f32[4, 3] and bf16[4, 2]");
  EXPECT_EQ(refused(b.input("rank", {DType::f32, {2, 2, 2}})),
            "[linear_grad] input 1 must have rank 2, got f32[2, 2, 2]");
}

TEST(LinearGrad, IsCutAlongRowsOrColumns) {
  const Placement whole = Placement::replicate(), sum = Placement::partial();
  const auto rule = [&](const Placement& x, const Placement& dy, bool input_first) {
    Node node;
    node.attrs.set("input_first", input_first);
    return all_ops().get("linear_grad").shard({node, {}, {x, dy}});
  };
  const Placement rows = Placement::shard(0), columns = Placement::shard(1);
  for (const bool first : {false, true}) {
    EXPECT_EQ(rule(rows, rows, first).outputs, (std::vector{sum, sum}));
    EXPECT_EQ(rule(whole, rows, first).inputs, (std::vector{rows, rows}));
    EXPECT_EQ(rule(columns, columns, first).inputs, (std::vector{whole, columns}));
    EXPECT_EQ(rule(whole, columns, first).outputs,
              (std::vector{Placement::shard(first ? 1 : 0), Placement::shard(0)}));
    EXPECT_EQ(rule(columns, whole, first).inputs, (std::vector{columns, whole}));
    EXPECT_EQ(rule(columns, whole, first).outputs, (std::vector{Placement::shard(first ? 0 : 1), whole}));
    EXPECT_EQ(rule(sum, whole, first).inputs, (std::vector{whole, whole}));
    EXPECT_EQ(rule(whole, whole, first).outputs, (std::vector{whole, whole}));
  }
}

}  // namespace
}  // namespace floe
