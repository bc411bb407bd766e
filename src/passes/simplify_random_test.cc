// simplify() on graphs nobody wrote: every bit of every output stays, on NaN, infinities and both zeros too.
#include <gtest/gtest.h>

#include "passes/simplify_case_for_test.h"
#include "testing/random_graph.h"

namespace floe {
namespace {

TEST(Simplify, KeepsEveryBitOfRandomGraphs) {
  int before = 0;
  int after = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Graph graph = random_graph({.seed = seed, .nodes = 40});
    const Graph simple = simplify(graph);
    verify(simple, "simplify");
    EXPECT_EQ(print(simplify(simple)), print(simple)) << "seed " << seed << " had not settled";
    SCOPED_TRACE(print(graph) + print(simple));
    for (const Binding& binding :
         {Binding{{"B", 1}, {"S", 1}}, Binding{{"B", 3}, {"S", 5}}, Binding{{"B", 2}, {"S", 0}}}) {
      expect_same_values(graph, simple, binding);
      if (testing::Test::HasFatalFailure()) return;
    }
    before += graph.node_count();
    after += simple.node_count();
  }
  EXPECT_LT(after, before / 2) << "the generator should leave much to simplify";
}

}  // namespace
}  // namespace floe
