// Graphs → Program: the pass list, then a kernel and memory for every node.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "kernel/kernel.h"
#include "runtime/program.h"

namespace floe {

struct CompileOptions {
  DeviceKind device = DeviceKind::cpu;
  std::vector<std::string> skip;  // passes, by name
  // For inference: products, with what surrounds them, by kernels whose rows do not depend on each other,
  // where the device has them. f32 products are so on every device.
  bool row_invariant = false;
  // Called after every pass with its name and graph, also once before the first ("built").
  std::function<void(const std::string& pass, const Graph& graph, double seconds)> after_pass;
};

// One entry for each graph, named like it. Entries share states by name.
std::shared_ptr<const Program> compile(const std::vector<Graph>& graphs, const KernelTable& kernels,
                                       const CompileOptions& options = {});

// The names of the passes, in order.
std::vector<std::string> pass_names();

}  // namespace floe
