#include "passes/simplify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "ir/builder.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "passes/simplify_case_for_test.h"
#include "passes/simplify_rules.h"

namespace floe {
namespace {

const char* kX = "%0 = input {dims = <4, 3>, dtype = f32, name = \"x\"} : f32[4, 3]\n";

std::vector<SimplifyCase> arithmetic_cases() {
  const std::string x = kX;
  const std::string n = "%0 = input {dims = <5>, dtype = i32, name = \"x\"} : i32[5]\n";
  const auto number = [](const char* value) {
    return std::string("%1 = constant {value = tensor f32 [] {") + value + "}} : f32[]\n";
  };
  return {
      {"mul_by_one",
       x + number("1") + "%2 = mul(%0, %1) : f32[4, 3]\n%3 = mul(%1, %2) : f32[4, 3]\nreturn \"y\" = %3",
       x + "return \"y\" = %0"},
      // The constant may have broadcast the operand.
      {"mul_by_one",
       "%0 = input {dims = <3>, dtype = f32, name = \"x\"} : f32[3]\n"
       "%1 = constant {value = tensor f32 [2, 1] {1, 1}} : f32[2, 1]\n"
       "%2 = mul(%0, %1) : f32[2, 3]\nreturn \"y\" = %2",
       "%0 = input {dims = <3>, dtype = f32, name = \"x\"} : f32[3]\n"
       "%1 = broadcast(%0) {dims = <2, 3>} : f32[2, 3]\nreturn \"y\" = %1"},
      {"div_by_one", x + number("1") + "%2 = div(%0, %1) : f32[4, 3]\nreturn \"y\" = %2",
       x + "return \"y\" = %0"},
      {"add_of_nothing",
       x + number("-0") + "%2 = add(%0, %1) : f32[4, 3]\n%3 = add(%1, %2) : f32[4, 3]\nreturn \"y\" = %3",
       x + "return \"y\" = %0"},
      {"add_of_nothing",
       n + "%1 = constant {value = tensor i32 [] {0}} : i32[]\n%2 = add(%0, %1) : i32[5]\nreturn \"y\" = %2",
       n + "return \"y\" = %0"},
      {"sub_of_nothing", x + number("0") + "%2 = sub(%0, %1) : f32[4, 3]\nreturn \"y\" = %2",
       x + "return \"y\" = %0"},
      {"neg_of_neg", x + "%1 = neg(%0) : f32[4, 3]\n%2 = neg(%1) : f32[4, 3]\nreturn \"y\" = %2",
       x + "return \"y\" = %0"},
      {"cast_to_same", x + "%1 = cast(%0) {dtype = f32} : f32[4, 3]\nreturn \"y\" = %1",
       x + "return \"y\" = %0"},
      {"cast_there_and_back",
       x + "%1 = cast(%0) {dtype = f64} : f64[4, 3]\n%2 = cast(%1) {dtype = f32} : f32[4, 3]\nreturn \"y\" = "
           "%2",
       x + "return \"y\" = %0"},
      {"select_on_constant",
       x + "%1 = constant {value = tensor bool [3] {0, 0, 0}} : bool[3]\n%2 = exp(%0) : f32[4, 3]\n"
           "%3 = select(%1, %2, %0) : f32[4, 3]\nreturn \"y\" = %3",
       x + "return \"y\" = %0"},
      {"select_of_equals",
       x + "%1 = lt(%0, %0) : bool[4, 3]\n%2 = select(%1, %0, %0) : f32[4, 3]\nreturn \"y\" = %2",
       x + "return \"y\" = %0"},
      {"drop_broadcast",
       x + number("2") +
           "%2 = broadcast(%1) {dims = <4, 3>} : f32[4, 3]\n%3 = max(%0, %2) : f32[4, 3]\nreturn \"y\" = %3",
       x + number("2") + "%2 = max(%0, %1) : f32[4, 3]\nreturn \"y\" = %2"},
  };
}

TEST(Simplify, AppliesEachArithmeticRuleAndKeepsEveryBit) {
  for (const SimplifyCase& c : arithmetic_cases()) {
    SCOPED_TRACE(c.rule + "\n" + c.before);
    const Graph after = expect_simplified(c);
    expect_same_values(parse(all_ops(), graph_text(c.before)), after);
  }
}

TEST(Simplify, HasACaseForEachArithmeticRule) {
  std::set<std::string_view> rules;
  for (const SimplifyRule& rule : arithmetic_rules()) rules.insert(rule.name);
  rules.erase("loss_from_its_gradient");  // has tests of its own
  std::set<std::string_view> tested;
  const std::vector<SimplifyCase> cases = arithmetic_cases();
  for (const SimplifyCase& c : cases) tested.insert(c.rule);
  EXPECT_EQ(tested, rules);
}

TEST(Simplify, LeavesWhatIsNoIdentityOnFloats) {
  const std::string x = kX;
  const auto number = [](const char* value) {
    return std::string("%1 = constant {value = tensor f32 [] {") + value + "}} : f32[]\n";
  };
  for (const std::string& text : {
           x + number("0") + "%2 = add(%0, %1) : f32[4, 3]\nreturn \"y\" = %2",   // -0 + 0 = 0
           x + number("-0") + "%2 = sub(%0, %1) : f32[4, 3]\nreturn \"y\" = %2",  // -0 - -0 = 0
           x + number("0") + "%2 = sub(%1, %0) : f32[4, 3]\nreturn \"y\" = %2",   // 0 - 0 = 0, not -0
           x + number("0") + "%2 = mul(%0, %1) : f32[4, 3]\nreturn \"y\" = %2",   // NaN * 0 = NaN
           x + "%1 = sub(%0, %0) : f32[4, 3]\nreturn \"y\" = %1",                 // inf - inf = NaN
           x + "%1 = div(%0, %0) : f32[4, 3]\nreturn \"y\" = %1",                 // 0 / 0 = NaN
           x + "%1 = ne(%0, %0) : bool[4, 3]\nreturn \"y\" = %1",                 // is NaN
           x + "%1 = cast(%0) {dtype = bf16} : bf16[4, 3]\n"
               "%2 = cast(%1) {dtype = f32} : f32[4, 3]\nreturn \"y\" = %2",  // rounds
           x + "%1 = cast(%0) {dtype = i64} : i64[4, 3]\n"
               "%2 = cast(%1) {dtype = f32} : f32[4, 3]\nreturn \"y\" = %2",
       }) {
    const Graph graph = parse(all_ops(), graph_text(text));
    EXPECT_EQ(print(simplify(graph)), print(graph));
  }
}

TEST(Simplify, FoldsSmallConstantsInTheirOwnType) {
  expect_simplified({"fold",
                     "%0 = constant {value = tensor f32 [2] {0.1, 3}} : f32[2]\n"
                     "%1 = constant {value = tensor f32 [] {3}} : f32[]\n"
                     "%2 = div(%0, %1) : f32[2]\n"
                     "%3 = reduce_sum(%2) {axes = [0], keep = false} : f32[]\n"
                     "return \"y\" = %2\nreturn \"z\" = %3",
                     "%0 = constant {value = tensor f32 [2] {0.033333335, 1}} : f32[2]\n"
                     "%1 = constant {value = tensor f32 [] {1.0333333}} : f32[]\n"
                     "return \"y\" = %0\nreturn \"z\" = %1"});
  expect_simplified({"fold",
                     "%0 = constant {value = tensor i32 [] {2147483647}} : i32[]\n%1 = add(%0, %0) : i32[]\n"
                     "%2 = cast(%1) {dtype = i64} : i64[]\nreturn \"y\" = %2",
                     "%0 = constant {value = tensor i64 [] {-2}} : i64[]\nreturn \"y\" = %0"});
}

TEST(Simplify, DoesNotFoldWhatIsLargeOrWhatFails) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value large = b.constant(Tensor(DType::f32, {1025}));
  b.output("large", elementwise(b, "exp", {large}));
  const Value seven = b.scalar(7, DType::i32);
  b.output("fails", elementwise(b, "floordiv", {seven, b.scalar(0, DType::i32)}));
  // A splat stays a broadcast: folding it would only make a constant.
  b.output("splat", broadcast(b, b.scalar(2), {8}));
  EXPECT_EQ(print(simplify(graph)), print(graph));
}

TEST(Simplify, SharesEqualNodesAndKeepsTheFirstLayer) {
  expect_simplified({"share",
                     std::string(kX) +
                         "%1 = exp(%0) : f32[4, 3] @ \"first\"\n%2 = exp(%0) : f32[4, 3] @ \"second\"\n"
                         "%3 = add(%1, %2) : f32[4, 3]\n%4 = add(%1, %1) : f32[4, 3]\n"
                         "return \"y\" = %3\nreturn \"z\" = %4",
                     std::string(kX) + "%1 = exp(%0) : f32[4, 3] @ \"first\"\n%2 = add(%1, %1) : f32[4, 3]\n"
                                       "return \"y\" = %2\nreturn \"z\" = %2"});
}

TEST(Simplify, KeepsNodesThatDifferInAttributesOrConstantsInBits) {
  const std::string text =
      std::string(kX) +
      "%1 = reduce_sum(%0) {axes = [0], keep = false} : f32[3]\n"
      "%2 = reduce_sum(%0) {axes = [0], keep = true} : f32[1, 3]\n"
      "%3 = constant {value = tensor f32 [] {0}} : f32[]\n"
      "%4 = constant {value = tensor f32 [] {-0}} : f32[]\n"
      "%5 = cast(%0) {dtype = f64} : f64[4, 3]\n%6 = cast(%0) {dtype = bf16} : bf16[4, 3]\n"
      "return \"a\" = %1\nreturn \"b\" = %2\nreturn \"c\" = %3\nreturn \"d\" = %4\nreturn \"e\" = %5\n"
      "return \"f\" = %6";
  const Graph graph = parse(all_ops(), graph_text(text));
  EXPECT_EQ(print(simplify(graph)), print(graph));
}

TEST(Simplify, DropsDeadCodeAndUnusedStatesButNoInput) {
  expect_simplified(
      {"dead",
       std::string(kX) + "%1 = exp(%0) : f32[4, 3]\n"
                         "%2 = state {dims = <2>, dtype = f32, name = \"unused\"} : f32[2]\n"
                         "%3 = state {dims = <2>, dtype = f32, name = \"kept\"} : f32[2]\n"
                         "%4 = input {dims = <2>, dtype = f32, name = \"n\"} : f32[2]\nupdate \"kept\" = %4",
       std::string(kX) +
           "%1 = state {dims = <2>, dtype = f32, name = \"kept\"} : f32[2]\n"
           "%2 = input {dims = <2>, dtype = f32, name = \"n\"} : f32[2]\nupdate \"kept\" = %2"});
}

TEST(Simplify, StopsAfterLongChains) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  Value x = b.input("x", {DType::f32, {2}});
  const Value first = x;
  for (int i = 0; i < 400; ++i) x = elementwise(b, "neg", {mul(b, x, b.scalar(1))});
  b.output("y", x);
  const Graph after = simplify(graph);
  EXPECT_EQ(after.node_count(), 1);
  EXPECT_EQ(after.outputs()[0].value, first);
}

TEST(MergeEqual, ChangesNothingElse) {
  const std::string text = std::string(kX) +
                           "%1 = constant {value = tensor f32 [] {1}} : f32[]\n%2 = mul(%0, %1) : f32[4, 3]\n"
                           "%3 = mul(%0, %1) : f32[4, 3]\nreturn \"y\" = %2\nreturn \"z\" = %3";
  const std::string after =
      std::string(kX) +
      "%1 = constant {value = tensor f32 [] {1}} : f32[]\n%2 = mul(%0, %1) : f32[4, 3]\n"
      "return \"y\" = %2\nreturn \"z\" = %2";
  EXPECT_EQ(print(merge_equal(parse(all_ops(), graph_text(text)))),
            print(parse(all_ops(), graph_text(after))));
}

}  // namespace
}  // namespace floe
