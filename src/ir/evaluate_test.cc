#include "ir/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "ir/print.h"
#include "ops/all.h"

namespace floe {
namespace {

Graph sample() {
  return parse(all_ops(),
               "graph \"g\" {\ndim B in 1..4\ndim S in 0..8 multiple 2\n"
               "%0 = input {dims = <B, S>, dtype = f32, name = \"x\"} : f32[B, S]\n"
               "%1 = state {dims = <2*B>, dtype = f32, name = \"s\"} : f32[2*B]\n"
               "%2 = reduce_sum(%0) {axes = [1], keep = false} : f32[B]\n"
               "%3 = exp(%1) : f32[2*B]\nupdate \"s\" = %3\nreturn \"y\" = %2\n}\n");
}

RefTensor of(Shape shape, std::vector<double> values, DType dtype = DType::f32) {
  RefTensor tensor(dtype, std::move(shape));
  if (is_float(dtype)) tensor.f = std::move(values);
  return tensor;
}

std::string refusal(const RefMap& inputs, const RefMap& states, const Binding& binding = {}) {
  try {
    evaluate(sample(), inputs, states, binding);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::user);
    return e.what();
  }
  return "accepted";
}

TEST(Evaluate, GivesOutputsAndUpdatesInDoubleUnrounded) {
  const Evaluation got =
      evaluate(sample(), {{"x", of({2, 2}, {1, 2, 0.1, 1e-12})}}, {{"s", of({4}, {0, 0, 0, 0})}});
  EXPECT_EQ(got.outputs.at("y").f, (std::vector<double>{3, 0.1 + 1e-12}));
  EXPECT_EQ(got.updates.at("s").f, (std::vector<double>{1, 1, 1, 1}));
}

TEST(Evaluate, TakesSizesOfZero) {
  const Evaluation got = evaluate(sample(), {{"x", of({1, 0}, {})}}, {{"s", of({2}, {0, 0})}});
  EXPECT_EQ(got.outputs.at("y").f, (std::vector<double>{0}));
}

TEST(Evaluate, RefusesWhatIsMissingOrDoesNotFit) {
  const RefTensor x = of({2, 2}, {1, 2, 3, 4});
  const RefTensor s = of({4}, {0, 0, 0, 0});
  EXPECT_EQ(refusal({}, {{"s", s}}), "input 'x' is missing");
  EXPECT_EQ(refusal({{"x", x}}, {}), "state 's' is missing");
  EXPECT_EQ(refusal({{"x", of({2}, {1, 2})}}, {{"s", s}}), "'x' must have shape [B, S], got [2]");
  EXPECT_EQ(refusal({{"x", x}}, {{"s", of({3}, {0, 0, 0})}}), "'s' must have shape [2*B], got [3] (2*B = 4)");
  EXPECT_EQ(refusal({{"x", x}}, {{"s", s}}, {{"B", 3}}), "'x' must have shape [B, S], got [2, 2] (B = 3)");
  EXPECT_EQ(refusal({{"x", of({2, 2}, {1, 2, 3, 4}, DType::i32)}}, {{"s", s}}), "'x' must be f32, got i32");
}

TEST(Evaluate, RefusesSizesOutsideTheDeclaredOnes) {
  EXPECT_EQ(refusal({{"x", of({5, 0}, {})}}, {{"s", of({10}, std::vector<double>(10))}}),
            "dim 'B' = 5 is outside 1..4");
  EXPECT_EQ(refusal({{"x", of({1, 3}, {1, 2, 3})}}, {{"s", of({2}, {0, 0})}}),
            "dim 'S' = 3 is not a multiple of 2");
}

TEST(Evaluate, NamesADimThatNothingBinds) {
  const Graph graph =
      parse(all_ops(),
            "graph \"g\" {\ndim S in 0..8\n%0 = constant {value = tensor f32 [] {1}} : f32[]\n"
            "%1 = broadcast(%0) {dims = <S>} : f32[S]\nreturn \"y\" = %1\n}\n");
  EXPECT_EQ(evaluate(graph, {}, {}, {{"S", 3}}).outputs.at("y").shape, (Shape{3}));
  try {
    evaluate(graph, {}, {});
    FAIL() << "a dim without a value was taken";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("needs a value for 'S'"));
  }
}

TEST(RefTensor, GoesToATensorAndBackRounded) {
  RefTensor ref(DType::bf16, {2});
  ref.f = {1.0 / 3, -0.0};
  const RefTensor back = ref_of(tensor_of(ref));
  EXPECT_EQ(back.f[0], 0.333984375);
  EXPECT_TRUE(std::signbit(back.f[1]));
  RefTensor large(DType::i64, {1});
  large.i = {INT64_MAX};
  EXPECT_EQ(ref_of(tensor_of(large)).i, large.i);
}

}  // namespace
}  // namespace floe
