#include "ops/iota/iota.h"

#include <gtest/gtest.h>

#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

TEST(Iota, CountsAlongItsAxis) {
  for (const int64_t axis : {0, 1, -1}) {
    for (const Dims& dims : {Dims{Dim(3), Dim(4), Dim(2)}, Dims{Dim(2), Dim(0), Dim(5)}}) {
      check_kernel({"iota", {}, {{"dims", dims}, {"axis", axis}, {"start", Dims{Dim(-2)}}}});
    }
  }
}

TEST(Iota, StartsAtAnExpression) {
  Graph graph(all_ops(), "positions");
  Builder b(graph);
  const Dim s = graph.symbols().declare("S");
  const Dim t = graph.symbols().declare("T");
  b.output("y", iota(b, {t}, 0, s - t));
  const Evaluation at = evaluate(graph, {}, {}, {{"S", 5}, {"T", 3}});
  EXPECT_EQ(at.outputs.at("y").i, (std::vector<int64_t>{2, 3, 4}));
}

}  // namespace
}  // namespace floe
