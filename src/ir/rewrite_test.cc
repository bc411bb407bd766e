#include "ir/rewrite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ir/op.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "ops/elementwise/elementwise.h"
#include "testing/random_graph.h"

namespace floe {
namespace {

Graph graph_of(const std::string& statements) {
  return parse(all_ops(), "graph \"g\" {\n" + statements + "\n}\n");
}

const char* kX = "dim B in 1..8\n%0 = input {dims = <B>, dtype = f32, name = \"x\"} : f32[B]\n";

TEST(Rewrite, WithoutARuleThatApplies_CopiesTheGraph) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Graph graph = random_graph({.seed = seed});
    const Graph copy = rewrite(graph, [](const RewriteContext&) { return std::nullopt; });
    verify(copy, "rewrite");
    ASSERT_EQ(print(copy), print(graph));
  }
}

TEST(Rewrite, ReplacesNodesAndKeepsNamesAndLayers) {
  const Graph graph = graph_of(std::string(kX) +
                               "%1 = state {dims = <B>, dtype = f32, name = \"s\"} : f32[B]\n"
                               "%2 = square(%0) : f32[B] @ \"layer.0\"\n%3 = add(%2, %1) : f32[B]\n"
                               "update \"s\" = %3\nreturn \"y\" = %2");
  const Graph after = rewrite(graph, [](const RewriteContext& c) -> std::optional<Values> {
    if (c.node.op->name != "square") return std::nullopt;
    EXPECT_EQ(c.old_graph.node(c.node_index).where, "layer.0");
    return Values{mul(c.builder, c.inputs[0], c.inputs[0])};
  });
  EXPECT_EQ(
      print(after),
      print(graph_of(std::string(kX) + "%1 = state {dims = <B>, dtype = f32, name = \"s\"} : f32[B]\n"
                                       "%2 = mul(%0, %0) : f32[B] @ \"layer.0\"\n%3 = add(%2, %1) : f32[B]\n"
                                       "update \"s\" = %3\nreturn \"y\" = %2")));
}

TEST(Rewrite, RefusesOtherTypesUnlessTheyMayChange) {
  const Graph graph = graph_of(std::string(kX) + "%1 = exp(%0) : f32[B]\nreturn \"y\" = %1");
  const RewriteRule to_f64 = [](const RewriteContext& c) -> std::optional<Values> {
    if (c.node.op->name != "exp") return std::nullopt;
    return Values{cast(c.builder, c.inputs[0], DType::f64)};
  };
  try {
    rewrite(graph, to_f64);
    FAIL() << "another type was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bug);
    EXPECT_THAT(e.what(), testing::HasSubstr("rewrite of 'exp' changed type f32[B] to f64[B]"));
  }
  const Graph after = rewrite(graph, to_f64, {.types_may_change = true});
  EXPECT_EQ(after.type(after.outputs()[0].value).dtype, DType::f64);
}

TEST(Rewrite, RefusesAnotherNumberOfResults) {
  const Graph graph = graph_of(std::string(kX) + "return \"y\" = %0");
  EXPECT_THROW(rewrite(graph, [](const RewriteContext&) { return std::optional<Values>(Values{}); }), Error);
}

TEST(RemoveDead, KeepsDoorsUpdatedStatesAndWhatIsNeeded) {
  const Graph graph = graph_of(std::string(kX) +
                               "%1 = state {dims = <B>, dtype = f32, name = \"idle\"} : f32[B]\n"
                               "%2 = state {dims = <B>, dtype = f32, name = \"written\"} : f32[B]\n"
                               "%3 = exp(%0) : f32[B]\n%4 = exp(%3) : f32[B]\n%5 = neg(%0) : f32[B] @ \"a\"\n"
                               "update \"written\" = %5");
  EXPECT_EQ(
      print(remove_dead(graph)),
      print(graph_of(std::string(kX) + "%1 = state {dims = <B>, dtype = f32, name = \"written\"} : f32[B]\n"
                                       "%2 = neg(%0) : f32[B] @ \"a\"\nupdate \"written\" = %2")));
}

TEST(InlineGraph, MapsInputsInOrderAndDeclaresDims) {
  const Graph inner = graph_of(
      "dim S in 1..4\n%0 = input {dims = <2>, dtype = f32, name = \"a\"} : f32[2]\n"
      "%1 = input {dims = <2>, dtype = f32, name = \"b\"} : f32[2]\n%2 = sub(%0, %1) : f32[2]\n"
      "return \"d\" = %2\nreturn \"a\" = %0");
  Graph outer(all_ops(), "outer");
  Builder b(outer);
  const Value p = b.input("p", {DType::f32, {2}});
  const Value q = b.input("q", {DType::f32, {2}});
  const Values results = inline_graph(b, inner, Values{q, p});
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[1], q);
  EXPECT_EQ(print_node(outer, outer.producer(results[0])), "%2 = sub(%1, %0) : f32[2]");
  EXPECT_TRUE(outer.symbols().has("S"));
  EXPECT_THROW(inline_graph(b, inner, Values{q}), Error);
}

TEST(UsersOf, ListsEachReaderOnce) {
  const Graph graph = graph_of(std::string(kX) + "%1 = mul(%0, %0) : f32[B]\n%2 = add(%0, %1) : f32[B]");
  EXPECT_THAT(users_of(graph),
              testing::ElementsAre(testing::ElementsAre(1, 2), testing::ElementsAre(2), testing::IsEmpty()));
}

TEST(Builder, NamesTheLayerOfAnErrorAndScopesNest) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {2}});
  const Builder::Scope outer(b, "encoder");
  {
    const Builder::Scope inner(b, "0");
    EXPECT_EQ(b.where(), "encoder.0");
    try {
      add(b, x, b.scalar(1, DType::f64));
      FAIL() << "two types were added";
    } catch (const Error& e) {
      EXPECT_STREQ(e.what(), "[add] operands must have one type, got f32[2] and f64[] (in encoder.0)");
    }
  }
  EXPECT_EQ(graph.producer(elementwise(b, "exp", {x})).where, "encoder");
}

}  // namespace
}  // namespace floe
