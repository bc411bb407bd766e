#include "ops/collective/collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ir/print.h"
#include "ops/all.h"

namespace floe {
namespace {

std::string refusal(const std::string& op, const std::string& attrs, const std::string& dims = "S, 6") {
  try {
    parse(all_ops(), fmt::format("graph \"g\" {{\ndim S in 0..64 multiple 2\n"
                                 "%0 = input {{dims = <{0}>, dtype = f32, name = \"x\"}} : f32[{0}]\n"
                                 "%1 = {1}(%0) {{mesh = \"tp\", {2}}} : f32[{0}]\n}}\n",
                                 dims, op, attrs));
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Collective, GivesEachRanksTypes) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Dim s = graph.symbols().declare("S");
  const Value x = b.input("x", {DType::f32, {s, 6}});
  const MeshAxis mesh{"tp", 3};
  EXPECT_EQ(text_of(b.type(all_reduce(b, x, mesh))), "f32[S, 6]");
  EXPECT_EQ(text_of(b.type(all_reduce_max(b, x, mesh))), "f32[S, 6]");
  EXPECT_EQ(text_of(b.type(fan_out(b, x, mesh))), "f32[S, 6]");
  EXPECT_EQ(text_of(b.type(all_gather(b, x, 0, mesh))), "f32[3*S, 6]");
  EXPECT_EQ(text_of(b.type(local_shard(b, all_gather(b, x, 0, mesh), 0, mesh))), "f32[S, 6]");
  EXPECT_EQ(text_of(b.type(reduce_scatter(b, x, -1, mesh))), "f32[S, 2]");
}

TEST(Collective, RefusesWhatCannotBeCut) {
  EXPECT_THAT(refusal("local_shard", "axis = 0, ways = 2"),
              testing::HasSubstr("[local_shard] S is not known to be a multiple of 2"));
  EXPECT_THAT(refusal("reduce_scatter", "axis = 1, ways = 4"),
              testing::HasSubstr("[reduce_scatter] 6 is not known to be a multiple of 4"));
  EXPECT_THAT(refusal("all_gather", "axis = 2, ways = 2"), testing::HasSubstr("axis 2 is outside rank 2"));
  EXPECT_THAT(refusal("fan_out", "ways = 0"), testing::HasSubstr("ways must be at least 1, got 0"));
  EXPECT_THAT(refusal("all_reduce", "reduce = \"mean\", ways = 2"),
              testing::HasSubstr("reduce must be sum or max, got 'mean'"));
  EXPECT_EQ(refusal("all_reduce", "reduce = \"max\", ways = 2"), "accepted");
}

}  // namespace
}  // namespace floe
