#include "passes/pass.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/print.h"
#include "ir/rewrite.h"
#include "ops/all.h"
#include "ops/elementwise/elementwise.h"

namespace floe {
namespace {

Graph sample() {
  Graph graph(all_ops(), "sample");
  Builder b(graph);
  const Value x = b.input("x", {DType::f32, {2}});
  elementwise(b, "exp", {x});  // read by nobody
  b.output("y", add(b, x, x));
  return graph;
}

Graph same(const Graph& graph) { return graph; }

TEST(Pipeline, CallsBackOnlyForPassesThatChangedTheText) {
  Pipeline pipeline;
  pipeline.add("nothing", same).add("remove_dead", remove_dead).add("nothing_again", same);
  std::vector<std::string> seen;
  PipelineOptions options;
  options.after = [&](std::string_view pass, const Graph& graph, double seconds) {
    seen.push_back(std::string(pass) + " " + std::to_string(graph.node_count()));
    EXPECT_GE(seconds, 0);
  };
  std::vector<Pipeline::Timing> timings;
  const Graph result = pipeline.run(sample(), options, &timings);
  EXPECT_EQ(result.node_count(), 2);
  EXPECT_THAT(seen, testing::ElementsAre("remove_dead 2"));
  ASSERT_EQ(timings.size(), 3U);
  EXPECT_EQ(timings[1].pass, "remove_dead");
  EXPECT_FALSE(timings[0].changed);
  EXPECT_TRUE(timings[1].changed);
  EXPECT_FALSE(timings[2].changed);
}

TEST(Pipeline, SkipsByNameAndRefusesUnknownNames) {
  Pipeline pipeline;
  pipeline.add("remove_dead", remove_dead).add("nothing", same);
  EXPECT_EQ(print(pipeline.run(sample(), {.skip = {"remove_dead"}})), print(sample()));
  try {
    pipeline.run(sample(), {.skip = {"fuse"}});
    FAIL() << "an unknown name was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::user);
    EXPECT_STREQ(e.what(), "cannot skip pass 'fuse': the passes are remove_dead, nothing");
  }
}

TEST(Pipeline, NamesThePassThatBrokeTheGraph) {
  Pipeline pipeline;
  pipeline.add("nothing", same).add("breaker", [](const Graph& graph) {
    Graph broken = graph;
    broken.add_update("weights", broken.inputs()[0].value);
    return broken;
  });
  try {
    pipeline.run(sample());
    FAIL() << "a broken graph passed";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bug);
    EXPECT_THAT(e.what(), testing::HasSubstr("after breaker: graph 'sample': update of 'weights'"));
  }
}

TEST(Pipeline, RefusesTwoPassesOfOneName) {
  Pipeline pipeline;
  pipeline.add("nothing", same);
  EXPECT_THROW(pipeline.add("nothing", same), Error);
}

}  // namespace
}  // namespace floe
