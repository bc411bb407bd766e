// What the checks of one op's kernel share: the case as a graph, the kernel chosen for it, its inputs as
// tensors.
#pragma once
#include <memory>
#include <vector>

#include "ir/builder.h"
#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {

Shape fixed_shape(const Type& type);

struct CaseGraph {
  Graph graph{all_ops(), "case"};
  Values inputs;
  Values results;
};

CaseGraph graph_of(const OpCase& c);

// The kernel that runs a case's node, with what it needs.
struct ChosenKernel {
  const Kernel* kernel = nullptr;
  Attrs attrs;
  std::unique_ptr<Device::Module> module;
};

// `kernel` is null where the device has none. A pointwise node runs as a group of one.
ChosenKernel choose(const OpCase& c, const CaseGraph& built, Device& device);

// Inputs as the kernel sees them: rounded to their dtype.
std::vector<Tensor> input_tensors(const OpCase& c);

}  // namespace floe
