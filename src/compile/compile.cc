#include "compile/compile.h"

#include "base/error.h"
#include "compile/plan.h"
#include "compile/print_cuda.h"
#include "passes/bias_gradients.h"
#include "passes/fuse.h"
#include "passes/pair_appends.h"
#include "passes/pass.h"
#include "passes/row_products.h"
#include "passes/simplify.h"
#include "passes/widen_halves.h"

namespace floe {
namespace {

// The pass list as a table of contents. `kernels` decides which ops must give way to their meaning, and which
// may be merged.
Pipeline pipeline(const KernelTable* kernels, const CompileOptions& options,
                  std::vector<std::string>* fallbacks) {
  const DeviceKind device = options.device;
  Pipeline passes;
  // The CPU's kernels compute in f32.
  passes.add("widen_halves",
             [=](const Graph& graph) { return device == DeviceKind::cpu ? widen_halves(graph) : graph; });
  // Fold constants, share equal nodes, drop dead ones.
  passes.add("simplify", simplify);
  // An op that the device has no kernel for becomes the graph of simpler ops that it means.
  passes.add("expand", [=](const Graph& graph) {
    return kernels == nullptr ? graph : expand_missing(graph, *kernels, device, fallbacks);
  });
  // What the meanings brought may be shared and folded, too.
  passes.add("simplify_again", simplify);
  const auto has_kernel = [=](const Graph& graph, const Node& node) {
    return kernels != nullptr && find_kernel(graph, node, *kernels, device) != nullptr;
  };
  // In inference a product takes the norm before it and what follows it along.
  passes.add("row_products", [=, merge = options.row_invariant](const Graph& graph) {
    return merge ? merge_row_products(graph, has_kernel) : graph;
  });
  // A layer's new keys and values are written at once.
  passes.add("pair_appends", [=](const Graph& graph) { return pair_appends(graph, has_kernel); });
  // Where the device sums rows while it multiplies, a bias's gradient comes with its weight's.
  passes.add("bias_gradients", [=](const Graph& graph) { return join_bias_gradients(graph, has_kernel); });
  // Element-by-element work becomes groups, each one kernel; activations join the matrix products before
  // them.
  passes.add("fuse", fuse);
  return passes;
}

}  // namespace

std::shared_ptr<const Program> compile(const std::vector<Graph>& graphs, const KernelTable& kernels,
                                       const CompileOptions& options) {
  auto program = std::make_shared<Program>();
  program->device = options.device;
  for (const Graph& graph : graphs) {
    std::vector<std::string> fallbacks;
    PipelineOptions run;
    run.skip = {options.skip.begin(), options.skip.end()};
    if (options.after_pass) {
      options.after_pass("built", graph, 0);
      run.after = [&](std::string_view pass, const Graph& g, double seconds) {
        options.after_pass(std::string(pass), g, seconds);
      };
    }
    const Graph final_graph = pipeline(&kernels, options, &fallbacks).run(graph, run);
    program->entries.push_back(plan(final_graph, kernels, options.device, program.get()));
    program->entries.back().fallbacks = std::move(fallbacks);
  }
  if (options.device == DeviceKind::cuda) print_cuda_groups(program.get());
  return program;
}

std::vector<std::string> pass_names() {
  std::vector<std::string> names;
  const Pipeline passes = pipeline(nullptr, {}, nullptr);
  for (const Pass& pass : passes.passes()) names.push_back(pass.name);
  return names;
}

}  // namespace floe
