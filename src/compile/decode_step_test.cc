// How many kernels a decoder's step in bf16 is, once products have taken what surrounds them.
#include <gtest/gtest.h>

#include <map>

#include "nn/models_for_test.h"
#include "nn/transformer.h"
#include "passes/append_attention.h"
#include "passes/embedding_sums.h"
#include "passes/mixed_precision.h"
#include "passes/pair_appends.h"
#include "passes/row_products.h"
#include "passes/simplify.h"

namespace floe {
namespace {

std::map<std::string, int> ops_of_step(const ModelConfig& config) {
  const auto always = [](const Graph&, const Node&) { return true; };
  const auto is_cache = [](std::string_view name) { return name.substr(0, 6) == "cache."; };
  Graph graph = narrow_states(step_graph(config, {.prefix = Prefix::one}), is_cache);
  graph = simplify(mixed_precision(graph));
  graph = pair_appends(simplify(merge_row_products(graph, always)), always);
  graph = join_embeddings(append_in_attention(graph, always), always);
  std::map<std::string, int> count;
  for (const Node& node : graph.nodes()) ++count[node.op->name];
  return count;
}

TEST(DecodeStep, ALayerIsEightKernelsWhereverItsNormsStand) {
  for (const NormPlacement placement : {NormPlacement::pre, NormPlacement::post}) {
    for (const NormKind kind : {NormKind::layer_norm, NormKind::rms_norm}) {
      ModelConfig config = tiny_model();
      config.norm_placement = placement;
      config.norm_kind = kind;
      config.biases = kind == NormKind::layer_norm;
      const std::map<std::string, int> ops = ops_of_step(config);
      const auto count = [&](const char* op) { return ops.count(op) != 0 ? ops.at(op) : 0; };
      EXPECT_EQ(count("row_linear"), 2 * 6 + 1);
      EXPECT_EQ(count("append_attention"), 2);
      EXPECT_EQ(count("paged_attention"), 2);
      for (const char* gone :
           {"matmul", "layer_norm", "rms_norm", "relu", "cache_append", "cache_append_pair"})
        EXPECT_EQ(count(gone), 0) << gone;
      EXPECT_EQ(count("embedding_sum"), 1);
      EXPECT_EQ(count("embedding") + count("add"), 0);
    }
  }
}

}  // namespace
}  // namespace floe
