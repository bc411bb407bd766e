// print() and parse(): what goes out comes back, and what is wrong is refused with its line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "testing/random_graph.h"

namespace floe {
namespace {

std::string round_trip(const std::string& text) { return print(parse(all_ops(), text)); }

// The message with which the text is refused.
std::string refusal(const std::string& text) {
  try {
    parse(all_ops(), text);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::user) << e.what();
    return e.what();
  }
  return "accepted";
}

std::string graph_of(const std::string& statements) { return "graph \"g\" {\n" + statements + "\n}\n"; }

TEST(GraphText, ComesBackTheSame) {
  const std::string text =
      "graph \"step \\\"1\\\"\" {\n"
      "  dim B in 1..64\n"
      "  dim S in 0..512 multiple 8\n"
      "  %0 = input {dims = <B, S>, dtype = f32, name = \"x\"} : f32[B, S]\n"
      "  %1 = state {dims = <>, dtype = bf16, mark = true, name = \"w\", shard = 1} : bf16[]\n"
      "  %2 = constant {value = tensor f32 [2, 2] {0.1, nan, -inf, -0}} : f32[2, 2]\n"
      "  %3 = constant {value = tensor i64 [1] {-9223372036854775808}} : i64[1]\n"
      "  %4 = constant {value = tensor bool [0] {}} : bool[0]\n"
      "  %5 = reduce_sum(%0) {axes = [-1], keep = false} : f32[B] @ \"encoder.0\\n\\x01\"\n"
      "  %6 = reshape(%0) {dims = <B*S>, eps = 1e-05, factor = 3.0} : f32[B*S]\n"
      "  update \"w\" = %1\n"
      "  return \"sum\" = %5\n"
      "  return \"flat\" = %6\n"
      "}\n";
  EXPECT_EQ(round_trip(text), text);
}

TEST(GraphText, TakesOtherSpacingAndNumbersValuesAnew) {
  EXPECT_EQ(round_trip("\n graph \"g\" {\n\n%7=input{name=\"x\",dtype=f32,dims=<2>}:f32[2]\n"
                       "%9 = exp( %7 ) : f32[ 2 ]\n return \"y\"=%9\n}"),
            graph_of("  %0 = input {dims = <2>, dtype = f32, name = \"x\"} : f32[2]\n"
                     "  %1 = exp(%0) : f32[2]\n  return \"y\" = %1"));
}

TEST(GraphText, OfRandomGraphsComesBackTheSame) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Graph graph =
        random_graph({.seed = seed, .nodes = 30, .dtype = seed % 2 == 0 ? DType::f64 : DType::bf16});
    const std::string text = print(graph);
    const Graph back = parse(all_ops(), text);
    verify(back, "parse");
    ASSERT_EQ(print(back), text) << "seed " << seed;
  }
}

TEST(GraphText, RefusesWhatIsWrongWithItsLine) {
  const std::string x = "%0 = input {dims = <2>, dtype = f32, name = \"x\"} : f32[2]\n";
  const struct {
    std::string text, message;
  } cases[] = {
      {"", "graph text, line 1: 'graph' expected: ''"},
      {graph_of("") + "more", "graph text, line 4: nothing expected after the graph: 'more'"},
      {"graph \"g\" {\n", "graph text, line 2: '%' expected: ''"},
      {graph_of(x + "%1 = expp(%0) : f32[2]"),
       "graph text, line 3: unknown op 'expp': '%1 = expp(%0) : f32[2]'"},
      {graph_of(x + "%1 = exp(%2) : f32[2]"),
       "graph text, line 3: %2 is used before it is defined: '%1 = exp(%2) : f32[2]'"},
      {graph_of(x + "%0 = exp(%0) : f32[2]"),
       "graph text, line 3: %0 is defined twice: '%0 = exp(%0) : f32[2]'"},
      {graph_of(x + "%1 = exp(%0) : f32[3]"),
       "graph text, line 3: 'exp' gives f32[2], the text says f32[3]: '%1 = exp(%0) : f32[3]'"},
      {graph_of(x + "%1, %2 = exp(%0) : f32[2], f32[2]"),
       "graph text, line 3: 'exp' has 1 results: '%1, %2 = exp(%0) : f32[2], f32[2]'"},
      {graph_of(x + "%1 = add(%0) : f32[2]"),
       "graph text, line 3: [add] takes 2 inputs, got 1: '%1 = add(%0) : f32[2]'"},
      {graph_of("%0 = input {name = \"x} : f32[2]"),
       "graph text, line 2: a string is not closed: '%0 = input {name = \"x} : f32[2]'"},
      {graph_of("return \"y\\xz1\" = %0"),
       "graph text, line 2: \\x needs two digits: 'return \"y\\xz1\" = %0'"},
      {graph_of(x + "%1 = exp(%0) : f33[2]"),
       "graph text, line 3: unknown element type 'f33': '%1 = exp(%0) : f33[2]'"},
      {graph_of(x + "%1 = exp(%0) : f32[2"), "graph text, line 3: ']' expected: '%1 = exp(%0) : f32[2'"},
      {graph_of(x + "%1 = exp(%0) {a = 1, a = 2} : f32[2]"),
       "graph text, line 3: attribute 'a' is given twice: '%1 = exp(%0) {a = 1, a = 2} : f32[2]'"},
      {graph_of("%99999999999999999999 = input"),
       "graph text, line 2: a whole number expected: '%99999999999999999999 = input'"},
      {graph_of(x + "%1 = exp(%0) {a = 99999999999999999999} : f32[2]"),
       "graph text, line 3: '99999999999999999999' does not fit 64 bits: "
       "'%1 = exp(%0) {a = 99999999999999999999} : f32[2]'"},
      {graph_of(x + "%1 = exp(%0) {a = 1.0e999} : f32[2]"),
       "graph text, line 3: '1.0e999' does not fit a double: '%1 = exp(%0) {a = 1.0e999} : f32[2]'"},
      {graph_of(x + "%1 = exp(%0) {a = [1, 2.5]} : f32[2]"),
       "graph text, line 3: '2.5' is not a whole number: '%1 = exp(%0) {a = [1, 2.5]} : f32[2]'"},
      {graph_of("%0 = constant {value = tensor f32 [2] {1}} : f32[2]"),
       "graph text, line 2: 1 values for shape [2]: '%0 = constant {value = tensor f32 [2] {1}} : f32[2]'"},
      {graph_of("%0 = constant {value = tensor f32 [-1] {}} : f32[0]"),
       "graph text, line 2: shape [-1] has a negative size: "
       "'%0 = constant {value = tensor f32 [-1] {}} : f32[0]'"},
      {graph_of("%0 = constant {value = tensor f32 [4611686018427387904, 4] {1}} : f32[1]"),
       "graph text, line 2: shape [4611686018427387904, 4] is too large: "
       "'%0 = constant {value = tensor f32 [4611686018427387904, 4] {1}} : f32[1]'"},
      {graph_of("%0 = constant {value = tensor i8 [1] {128}} : i8[1]"),
       "graph text, line 2: '128' does not fit i8: '%0 = constant {value = tensor i8 [1] {128}} : i8[1]'"},
      {graph_of("%0 = constant {value = tensor f32 [1] {1e39}} : f32[1]"),
       "graph text, line 2: '1e39' does not fit f32: '%0 = constant {value = tensor f32 [1] {1e39}} : "
       "f32[1]'"},
      {graph_of("%0 = input {dims = <B>, dtype = f32, name = \"x\"} : f32[B]"),
       "graph text, line 2: [input] 'x': dim 'B' is not declared in the graph: "
       "'%0 = input {dims = <B>, dtype = f32, name = \"x\"} : f32[B]'"},
      {graph_of(
           "%0 = constant {value = tensor f32 [] {1}} : f32[]\n%1 = broadcast(%0) {dims = <B>} : f32[B]"),
       "graph text, line 3: dim 'B' is not declared: '%1 = broadcast(%0) {dims = <B>} : f32[B]'"},
      {graph_of(x + "%1 = reshape(%0) {dims = <4611686018427387904*4>} : f32[2]"),
       "graph text, line 3: a size does not fit 64 bits: "
       "'%1 = reshape(%0) {dims = <4611686018427387904*4>} : f32[2]'"},
      {graph_of("dim B in 5..1"),
       "graph text, line 2: dim 'B': bounds 5..1 with multiple 1 are impossible: 'dim B in 5..1'"},
      {graph_of("dim B in 1..5\ndim B in 1..6"),
       "graph text, line 3: dim 'B' is declared twice with other bounds: 'dim B in 1..6'"},
      {graph_of(x + "%1 = input {dims = <2>, dtype = f32, name = \"x\"} : f32[2]"),
       "graph text, line 3: input 'x' occurs twice: "
       "'%1 = input {dims = <2>, dtype = f32, name = \"x\"} : f32[2]'"},
      {graph_of(x + "return \"y\" = %0\nreturn \"y\" = %0"),
       "graph text, line 4: output 'y' occurs twice: 'return \"y\" = %0'"},
      {graph_of(x + "update \"x\" = %0"),
       "graph text, line 3: update of 'x', which is no state: 'update \"x\" = %0'"},
      {graph_of("%0 = state {dims = <2>, dtype = f32, name = \"s\"} : f32[2]\n"
                "%1 = constant {value = tensor f32 [] {1}} : f32[]\nupdate \"s\" = %1"),
       "graph text, line 4: state 's' is f32[2], its update f32[]: 'update \"s\" = %1'"},
  };
  for (const auto& c : cases) EXPECT_EQ(refusal(c.text), c.message);
}

TEST(GraphText, RefusesGraphsThatAreNestedTooDeeply) {
  std::string text;
  for (int i = 0; i < 100000; ++i) {
    text += "graph \"g\" {\n%0 = constant {value = tensor f32 [] {1}} : f32[] body\n";
  }
  EXPECT_THAT(refusal(text), testing::HasSubstr("line 19: graphs are nested too deeply"));
  const std::string dims = std::string(100000, '-') + "1";
  EXPECT_THAT(refusal(graph_of("%0 = input {dims = <" + dims + ">}")),
              testing::HasSubstr("is nested too deeply"));
}

TEST(GraphText, RefusesEveryCutAndMostDamagesOfAGoodText) {
  const std::string text = print(random_graph({.seed = 5, .nodes = 12}));
  for (size_t cut = 0; cut + 2 < text.size(); ++cut) {  // the last is the newline after the brace
    EXPECT_NE(refusal(text.substr(0, cut)), "accepted") << cut;
  }
  // Any byte may change: the text is refused as a user's mistake, or it is another graph that holds.
  for (size_t at = 0; at < text.size(); ++at) {
    std::string damaged = text;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 7)));
    if (refusal(damaged) == "accepted") verify(parse(all_ops(), damaged), "parse");
  }
}

TEST(GraphText, DrawsBoxesAndArrows) {
  const Graph graph =
      parse(all_ops(), graph_of("%0 = input {dims = <2>, dtype = f32, name = \"x\"} : f32[2]\n"
                                "%1 = exp(%0) : f32[2] @ \"a\\\"b\"\nreturn \"y\" = %1"));
  const std::string dot = print_dot(graph);
  EXPECT_THAT(dot, testing::HasSubstr("n1 [label=\"exp\\na\\\"b\""));
  EXPECT_THAT(dot, testing::HasSubstr("n0 -> n1 [label=\"f32[2]\"]"));
  EXPECT_THAT(dot, testing::HasSubstr("o0 [label=\"y\""));
}

}  // namespace
}  // namespace floe
