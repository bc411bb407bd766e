#include "translate/search_graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compile/compile.h"
#include "ir/verify.h"
#include "runtime/program.h"
#include "testing/op_case.h"

namespace floe {
namespace {

ModelConfig tiny() {
  ModelConfig c;
  c.d_model = 8;
  c.encoder_layers = c.decoder_layers = 1;
  c.heads = c.kv_heads = 2;
  c.d_ff = 8;
  c.source_vocabulary = c.target_vocabulary = 9;
  c.max_positions = 16;
  return c;
}

std::vector<SearchGraphOptions> every_kind() {
  std::vector<SearchGraphOptions> kinds;
  for (const bool cached : {true, false}) {
    kinds.push_back({.beam = 4, .cached = cached, .positions = 16});
    kinds.push_back({.sampling = true, .cached = cached, .positions = 16});
  }
  return kinds;
}

TEST(SearchGraph, VerifiesAndNamesItsOutputs) {
  for (const SearchGraphOptions& kind : every_kind()) {
    const Graph graph = search_graph(tiny(), kind);
    verify(graph, "build");
    std::vector<std::string> names;
    for (const NamedValue& output : graph.outputs()) names.push_back(output.name);
    EXPECT_THAT(names,
                testing::ElementsAre("values", "candidates", "parents", "log_probs", "picks", "ended"));
  }
}

TEST(SearchGraph, EveryOpHasItsKernel) {
  for (const SearchGraphOptions& kind : every_kind()) {
    const auto program = test_compile({search_graph(tiny(), kind)});
    EXPECT_THAT(program->entries[0].fallbacks, testing::IsEmpty()) << kind.beam << kind.cached;
  }
}

// Caches, table and history are written where they lie: a copy of a cache at every step would be most of its
// time.
TEST(SearchGraph, NoStateIsCopied) {
  const auto program = test_compile({search_graph(tiny(), every_kind()[0])});
  for (const StepSpec& step : program->entries[0].steps) {
    EXPECT_NE(step.kernel, "copy") << step.op << " in " << step.where;
  }
}

}  // namespace
}  // namespace floe
