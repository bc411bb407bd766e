// Each invariant, broken through Graph::append, which checks nothing.
#include "ir/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/op.h"
#include "ops/all.h"
#include "ops/elementwise/elementwise.h"

namespace floe {
namespace {

std::string fault(const Graph& graph) {
  try {
    verify(graph, "some pass");
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bug) << e.what();
    return e.what();
  }
  return "none";
}

const Type kType{DType::f32, {2}};

struct Sample {
  Graph graph{all_ops(), "g"};
  Builder b{graph};
  Value x = b.input("x", kType);
};

Node node_of(const std::string& op, Values inputs, std::vector<Type> types, Attrs attrs = {}) {
  Node node;
  node.op = &all_ops().get(op);
  node.inputs = std::move(inputs);
  node.types = std::move(types);
  node.attrs = std::move(attrs);
  return node;
}

TEST(Verify, HoldsForWhatTheBuilderMakes) {
  Sample s;
  s.b.output("y", add(s.b, s.x, s.x));
  EXPECT_EQ(fault(s.graph), "none");
}

TEST(Verify, FindsUseBeforeDefinitionAndShowsTheNeighbours) {
  Sample s;
  s.graph.append(node_of("exp", {Value{1}}, {kType}));  // itself
  EXPECT_EQ(fault(s.graph),
            "after some pass: graph 'g': %1 is used before it is defined\n"
            "   %0 = input {dims = <2>, dtype = f32, name = \"x\"} : f32[2]\n"
            "-> %1 = exp(%1) : f32[2]");
  Sample negative;
  negative.graph.append(node_of("exp", {Value{}}, {kType}));
  EXPECT_THAT(fault(negative.graph), testing::HasSubstr("%-1 is used before it is defined"));
}

TEST(Verify, FindsTypesThatInferDoesNotGive) {
  Sample s;
  s.graph.append(node_of("exp", {s.x}, {{DType::f64, {2}}}));
  EXPECT_THAT(fault(s.graph), testing::HasSubstr("types are not what infer gives"));
}

TEST(Verify, FindsOperandsThatTheOpRefuses) {
  Sample s;
  const Value n = s.b.input("n", {DType::i32, {2}});
  s.graph.append(node_of("add", {s.x, n}, {kType}));
  EXPECT_THAT(fault(s.graph), testing::HasSubstr("[add] operands must have one type, got f32[2] and i32[2]"));
}

TEST(Verify, FindsAWrongNumberOfInputs) {
  Sample s;
  s.graph.append(node_of("add", {s.x}, {kType}));
  EXPECT_THAT(fault(s.graph), testing::HasSubstr("wrong number of inputs"));
}

TEST(Verify, FindsAMissingAttribute) {
  Sample s;
  s.graph.append(node_of("broadcast", {s.x}, {kType}));
  EXPECT_THAT(fault(s.graph), testing::HasSubstr("attribute 'dims' is missing"));
}

// A dim that occurs only in a result's type must be declared as well.
TEST(Verify, FindsAnUndeclaredDimInAResult) {
  Sample s;
  const Dims dims{Dim::symbol("S") + 1, 2};
  s.graph.append(node_of("broadcast", {s.x}, {{DType::f32, dims}}, {{"dims", dims}}));
  EXPECT_THAT(fault(s.graph), testing::HasSubstr("dim 'S' is not declared"));
  s.graph.symbols().declare("S");
  EXPECT_EQ(fault(s.graph), "none");
}

TEST(Verify, FindsAnUndeclaredDimOfAnInput) {
  Graph graph(all_ops(), "g");
  const Dims dims{Dim::symbol("B")};
  graph.append(
      node_of("input", {}, {{DType::f32, dims}}, {{"name", "x"}, {"dtype", DType::f32}, {"dims", dims}}));
  EXPECT_THAT(fault(graph), testing::HasSubstr("dim 'B' is not declared"));
}

TEST(Verify, FindsNamesThatOccurTwice) {
  Sample inputs;
  inputs.b.input("x", kType);
  EXPECT_EQ(fault(inputs.graph), "after some pass: graph 'g': input 'x' occurs twice");
  Sample states;
  states.b.state("s", kType);
  states.b.state("s", kType);
  EXPECT_EQ(fault(states.graph), "after some pass: graph 'g': state 's' occurs twice");
  Sample outputs;
  outputs.b.output("y", outputs.x);
  outputs.b.output("y", outputs.x);
  EXPECT_EQ(fault(outputs.graph), "after some pass: graph 'g': output 'y' occurs twice");
  Sample updates;
  updates.b.state("s", kType);
  updates.b.update("s", updates.x);
  updates.b.update("s", updates.x);
  EXPECT_EQ(fault(updates.graph), "after some pass: graph 'g': update 's' occurs twice");
}

TEST(Verify, FindsOutputsAndUpdatesThatAreNoValues) {
  Sample output;
  output.graph.add_output("y", Value{7});
  EXPECT_EQ(fault(output.graph), "after some pass: graph 'g': output 'y' is no value");
  Sample update;
  update.b.state("s", kType);
  update.graph.add_update("s", Value{});
  EXPECT_EQ(fault(update.graph), "after some pass: graph 'g': update 's' is no value");
}

TEST(Verify, FindsUpdatesOfNoStateOrOfAnotherType) {
  Sample none;
  none.b.update("s", none.x);
  EXPECT_EQ(fault(none.graph), "after some pass: graph 'g': update of 's', which is no state");
  Sample other;
  other.b.state("s", {DType::f32, {3}});
  other.b.update("s", other.x);
  EXPECT_EQ(fault(other.graph), "after some pass: graph 'g': update of 's' is f32[2], the state f32[3]");
}

TEST(Verify, LooksIntoBodies) {
  Graph body(all_ops(), "body");
  body.add_output("y", Value{3});
  Sample s;
  Node node = node_of("exp", {s.x}, {kType});
  node.body = std::make_shared<Graph>(body);
  s.graph.append(std::move(node));
  EXPECT_EQ(fault(s.graph), "after some pass: graph 'body': output 'y' is no value");
}

}  // namespace
}  // namespace floe
