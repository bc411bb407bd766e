// Graph → entry of a Program: a kernel for each node, views instead of copies where the readers allow it,
// results written over operands that nobody reads again, and new states over old ones. Addresses are solved
// later, by the runtime, since sizes may be symbolic.
#pragma once
#include "ir/graph.h"
#include "kernel/kernel.h"
#include "runtime/program.h"

namespace floe {

// Every node must have a kernel on `device` or be a view (see expand_missing). Constants are appended to the
// program's. Throws bug naming a node that has none.
struct PlanOptions {
  bool in_place = true;  // false: a step's results overlap none of its operands
};
ProgramEntry plan(const Graph& graph, const KernelTable& kernels, DeviceKind device, Program* program,
                  PlanOptions options = {});

// The signature by which a node's kernel is looked up.
const Kernel* find_kernel(const Graph& graph, const Node& node, const KernelTable& kernels,
                          DeviceKind device);

// Replaces nodes without a kernel by their meaning, until all have one; `fallbacks` gets a line for each.
// Pointwise ops count as having one: fusion puts them into groups. Throws Error{user} naming an op that has
// neither.
Graph expand_missing(const Graph& graph, const KernelTable& kernels, DeviceKind device,
                     std::vector<std::string>* fallbacks);

}  // namespace floe
