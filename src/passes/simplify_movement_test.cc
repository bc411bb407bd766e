// The rules that move elements: text before, text after, and the same values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "ops/concat/concat.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/slice/slice.h"
#include "passes/autodiff.h"
#include "passes/simplify_case_for_test.h"
#include "passes/simplify_rules.h"

namespace floe {
namespace {

const char* kX = "%0 = input {dims = <4, 6>, dtype = f32, name = \"x\"} : f32[4, 6]\n";
const char* kY = "%1 = input {dims = <4, 2>, dtype = f32, name = \"y\"} : f32[4, 2]\n";
const char* kZero = "%2 = constant {value = tensor f32 [] {0}} : f32[]\n";
const char* kScalar = "%0 = input {dims = <>, dtype = f32, name = \"x\"} : f32[]\n";

std::string slice_text(int result, int of, int axis, int begin, int length, const std::string& type) {
  return fmt::format("%{} = slice(%{}) {{axis = {}, begin = <{}>, length = <{}>}} : {}\n", result, of, axis,
                     begin, length, type);
}

std::vector<SimplifyCase> movement_cases() {
  const std::string m = "%0 = input {dims = <4, 3>, dtype = f32, name = \"x\"} : f32[4, 3]\n";
  const std::string x = kX;
  const std::string y = kY;
  return {
      {"reshape_to_same", m + "%1 = reshape(%0) {dims = <4, 3>} : f32[4, 3]\nreturn \"y\" = %1",
       m + "return \"y\" = %0"},
      {"reshape_of_reshape",
       m + "%1 = reshape(%0) {dims = <12>} : f32[12]\n%2 = reshape(%1) {dims = <2, 6>} : f32[2, 6]\nreturn "
           "\"y\" = %2",
       m + "%1 = reshape(%0) {dims = <2, 6>} : f32[2, 6]\nreturn \"y\" = %1"},
      {"reshape_of_splat",
       "%0 = input {dims = <>, dtype = f32, name = \"x\"} : f32[]\n%1 = broadcast(%0) {dims = <4, 3>} : "
       "f32[4, 3]\n"
       "%2 = reshape(%1) {dims = <12>} : f32[12]\nreturn \"y\" = %2",
       "%0 = input {dims = <>, dtype = f32, name = \"x\"} : f32[]\n%1 = broadcast(%0) {dims = <12>} : "
       "f32[12]\n"
       "return \"y\" = %1"},
      {"broadcast_to_same", m + "%1 = broadcast(%0) {dims = <4, 3>} : f32[4, 3]\nreturn \"y\" = %1",
       m + "return \"y\" = %0"},
      {"broadcast_of_broadcast",
       m + "%1 = broadcast(%0) {dims = <2, 4, 3>} : f32[2, 4, 3]\n"
           "%2 = broadcast(%1) {dims = <5, 2, 4, 3>} : f32[5, 2, 4, 3]\nreturn \"y\" = %2",
       m + "%1 = broadcast(%0) {dims = <5, 2, 4, 3>} : f32[5, 2, 4, 3]\nreturn \"y\" = %1"},
      {"transpose_in_place", x + "%1 = transpose(%0) {perm = [0, 1]} : f32[4, 6]\nreturn \"r\" = %1",
       x + "return \"r\" = %0"},
      {"transpose_of_transpose",
       "%0 = input {dims = <2, 3, 4>, dtype = f32, name = \"x\"} : f32[2, 3, 4]\n"
       "%1 = transpose(%0) {perm = [1, 2, 0]} : f32[3, 4, 2]\n"
       "%2 = transpose(%1) {perm = [0, 2, 1]} : f32[3, 2, 4]\nreturn \"r\" = %2",
       "%0 = input {dims = <2, 3, 4>, dtype = f32, name = \"x\"} : f32[2, 3, 4]\n"
       "%1 = transpose(%0) {perm = [1, 0, 2]} : f32[3, 2, 4]\nreturn \"r\" = %1"},
      {"transpose_of_transpose",
       x + "%1 = transpose(%0) {perm = [1, 0]} : f32[6, 4]\n%2 = transpose(%1) {perm = [1, 0]} : f32[4, 6]\n"
           "return \"r\" = %2",
       x + "return \"r\" = %0"},
      {"transpose_of_splat",
       std::string(kScalar) + "%1 = broadcast(%0) {dims = <4, 3>} : f32[4, 3]\n"
                              "%2 = transpose(%1) {perm = [1, 0]} : f32[3, 4]\nreturn \"r\" = %2",
       std::string(kScalar) + "%1 = broadcast(%0) {dims = <3, 4>} : f32[3, 4]\nreturn \"r\" = %1"},
      {"slice_of_whole", x + slice_text(1, 0, 1, 0, 6, "f32[4, 6]") + "return \"r\" = %1",
       x + "return \"r\" = %0"},
      {"slice_of_slice",
       x + slice_text(1, 0, 1, 1, 4, "f32[4, 4]") + slice_text(2, 1, -1, 2, 2, "f32[4, 2]") +
           "return \"r\" = %2",
       x + slice_text(1, 0, 1, 3, 2, "f32[4, 2]") + "return \"r\" = %1"},
      {"slice_of_concat",
       x + y + "%2 = concat(%1, %0, %1) {axis = 1} : f32[4, 10]\n" + slice_text(3, 2, 1, 4, 3, "f32[4, 3]") +
           slice_text(4, 2, 1, 8, 2, "f32[4, 2]") + "return \"r\" = %3\nreturn \"s\" = %4",
       x + y + slice_text(2, 0, 1, 2, 3, "f32[4, 3]") + "return \"r\" = %2\nreturn \"s\" = %1"},
      {"slice_of_splat",
       std::string(kScalar) + "%1 = broadcast(%0) {dims = <4, 3>} : f32[4, 3]\n" +
           slice_text(2, 1, 0, 1, 2, "f32[2, 3]") + "return \"r\" = %2",
       std::string(kScalar) + "%1 = broadcast(%0) {dims = <2, 3>} : f32[2, 3]\nreturn \"r\" = %1"},
      {"concat_of_one", x + "%1 = concat(%0) {axis = 0} : f32[4, 6]\nreturn \"r\" = %1",
       x + "return \"r\" = %0"},
      {"concat_of_slices",
       x + y + slice_text(2, 0, 1, 0, 2, "f32[4, 2]") + slice_text(3, 0, 1, 2, 4, "f32[4, 4]") +
           "%4 = concat(%2, %3, %1) {axis = 1} : f32[4, 8]\nreturn \"r\" = %4",
       x + y + "%2 = concat(%0, %1) {axis = 1} : f32[4, 8]\nreturn \"r\" = %2"},
      // Both halves of x from different places: 0 on the other half.
      {"sum_of_padded_slices",
       x + y + kZero +
           "%3 = broadcast(%2) {dims = <4, 6>} : f32[4, 6]\n%4 = broadcast(%2) {dims = <4, 2>} : f32[4, 2]\n"
           "%5 = concat(%3, %1) {axis = 1} : f32[4, 8]\n%6 = concat(%0, %4) {axis = 1} : f32[4, 8]\n"
           "%7 = add(%5, %6) : f32[4, 8]\nreturn \"r\" = %7",
       x + y + "%2 = concat(%0, %1) {axis = 1} : f32[4, 8]\nreturn \"r\" = %2"},
      // What overlaps is added, what is 0 in both stays 0.
      {"sum_of_padded_slices",
       x + y + kZero +
           "%3 = broadcast(%2) {dims = <4, 9>} : f32[4, 9]\n%4 = broadcast(%2) {dims = <4, 3>} : f32[4, 3]\n"
           "%5 = concat(%1, %3) {axis = 1} : f32[4, 11]\n%6 = concat(%1, %4, %0) {axis = 1} : f32[4, 11]\n"
           "%7 = add(%5, %6) : f32[4, 11]\nreturn \"r\" = %7",
       x + y +
           "%2 = add(%1, %1) : f32[4, 2]\n%3 = constant {value = tensor f32 [] {0}} : f32[]\n"
           "%4 = broadcast(%3) {dims = <4, 3>} : f32[4, 3]\n"
           "%5 = concat(%2, %4, %0) {axis = 1} : f32[4, 11]\nreturn \"r\" = %5"},
  };
}

// Equal as numbers: -0 and 0 are one. Only sums of padded slices need it.
void expect_equal_numbers(const Graph& before, const Graph& after) {
  const RefMap feeds = awkward_inputs(before, {});
  const RefTensor want = evaluate(before, feeds, {}).outputs.at("r");
  const RefTensor got = evaluate(after, feeds, {}).outputs.at("r");
  ASSERT_EQ(got.shape, want.shape);
  for (size_t i = 0; i < want.f.size(); ++i) {
    if (std::isnan(want.f[i]) && std::isnan(got.f[i])) continue;
    EXPECT_EQ(got.f[i], want.f[i]);
  }
}

TEST(Simplify, AppliesEachMovementRuleAndKeepsValues) {
  for (const SimplifyCase& c : movement_cases()) {
    SCOPED_TRACE(c.rule + "\n" + c.before);
    const Graph after = expect_simplified(c);
    const Graph before = parse(all_ops(), graph_text(c.before));
    if (c.rule == "sum_of_padded_slices") {
      expect_equal_numbers(before, after);
    } else {
      expect_same_values(before, after);
    }
  }
}

TEST(Simplify, HasACaseForEachMovementRule) {
  std::set<std::string_view> rules;
  for (const SimplifyRule& rule : movement_rules()) rules.insert(rule.name);
  std::set<std::string_view> tested;
  const std::vector<SimplifyCase> cases = movement_cases();
  for (const SimplifyCase& c : cases) tested.insert(c.rule);
  EXPECT_EQ(tested, rules);
}

TEST(Simplify, LeavesMovesThatOnlyLookLikeARule) {
  const std::string x = kX;
  const std::string y = kY;
  for (const std::string& text : {
           // across two pieces
           x + y + "%2 = concat(%0, %1) {axis = 1} : f32[4, 8]\n" + slice_text(3, 2, 1, 5, 2, "f32[4, 2]") +
               "return \"r\" = %3",
           // slices of other values, or not next to each other, or along another axis
           x + slice_text(1, 0, 1, 0, 2, "f32[4, 2]") + slice_text(2, 0, 1, 3, 3, "f32[4, 3]") +
               "%3 = concat(%1, %2) {axis = 1} : f32[4, 5]\nreturn \"r\" = %3",
           x + slice_text(1, 0, 0, 0, 2, "f32[2, 6]") + slice_text(2, 0, 0, 2, 2, "f32[2, 6]") +
               "%3 = concat(%1, %2) {axis = 1} : f32[2, 12]\nreturn \"r\" = %3",
           x + slice_text(1, 0, 1, 0, 4, "f32[4, 4]") + slice_text(2, 1, 0, 0, 2, "f32[2, 4]") +
               "return \"r\" = %2",
           // no zeros on the other side
           x + y +
               "%2 = concat(%0, %1) {axis = 1} : f32[4, 8]\n%3 = concat(%1, %0) {axis = 1} : f32[4, 8]\n"
               "%4 = add(%2, %3) : f32[4, 8]\nreturn \"r\" = %4",
       }) {
    const Graph graph = parse(all_ops(), graph_text(text));
    EXPECT_EQ(print(simplify(graph)), print(graph));
  }
}

// A length that might be too short decides nothing.
TEST(Simplify, LeavesPaddedSlicesOfLengthsThatCannotBeCompared) {
  const auto text = [](const char* zeros) {
    return fmt::format(
        "dim S in 0..8\ndim T in 0..8\n%0 = input {{dims = <S>, dtype = f32, name = \"x\"}} : f32[S]\n"
        "%1 = input {{dims = <T>, dtype = f32, name = \"y\"}} : f32[T]\n"
        "%2 = constant {{value = tensor f32 [] {{0}}}} : f32[]\n%3 = broadcast(%2) {{dims = <S>}} : f32[S]\n"
        "%4 = broadcast(%2) {{dims = <T>}} : f32[T]\n%5 = concat({}) {{axis = 0}} : f32[S + T]\n"
        "%6 = concat(%0, %4) {{axis = 0}} : f32[S + T]\n%7 = add(%5, %6) : f32[S + T]\nreturn \"r\" = %7",
        zeros);
  };
  const Graph apart = parse(all_ops(), graph_text(text("%3, %1")));
  EXPECT_THAT(print(simplify(apart)), testing::HasSubstr("concat(%0, %1)"));
  const Graph unclear = parse(all_ops(), graph_text(text("%1, %3")));
  EXPECT_EQ(print(simplify(unclear)), print(unclear));
}

// Three slices of one product: the gradient by the product is one concat, with no padding and no sum.
TEST(Simplify, TurnsTheGradientOfAMergedProjectionIntoOneConcat) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Dim rows = graph.symbols().declare("B", {1, 64, 1});
  const Value x = b.input("x", {DType::f32, {rows, 4}});
  const Value w = b.state("w", {DType::f32, {12, 4}});
  const Value merged = linear(b, x, w, {});
  const Value q = slice(b, merged, 1, 0, 4);
  const Value k = slice(b, merged, 1, 4, 4);
  const Value v = slice(b, merged, 1, 8, 4);
  b.output("loss", reduce_sum(b, mul(b, elementwise(b, "tanh", {mul(b, q, k)}), v), {0, 1}, /*keep=*/false));
  Differentiated d = differentiate(graph, "loss", {"w"});
  d.graph.add_output("dw", d.gradients.at("w"));
  const Graph after = simplify(d.graph);
  verify(after, "simplify");
  int concats = 0;
  for (const Node& node : after.nodes()) {
    concats += node.op->name == "concat" ? 1 : 0;
    EXPECT_NE(node.op->name, "add");
  }
  EXPECT_EQ(concats, 1);
  RefTensor x_value(DType::f32, {3, 4});
  RefTensor w_value(DType::f32, {12, 4});
  for (size_t i = 0; i < x_value.f.size(); ++i) x_value.f[i] = std::sin(static_cast<double>(i));
  for (size_t i = 0; i < w_value.f.size(); ++i) w_value.f[i] = std::cos(static_cast<double>(3 * i));
  const Evaluation want = evaluate(d.graph, {{"x", x_value}}, {{"w", w_value}});
  const Evaluation got = evaluate(after, {{"x", x_value}}, {{"w", w_value}});
  expect_same_bits(got.outputs.at("dw"), want.outputs.at("dw"), "dw");
}

}  // namespace
}  // namespace floe
