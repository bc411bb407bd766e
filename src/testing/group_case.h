// A group's body on the CPU, through its kernel.
#pragma once
#include <vector>

#include "ir/graph.h"

namespace floe {

// Output k lies over input `over[k]` where that is given and not negative; else in memory of its own.
std::vector<Tensor> run_group_body(const Graph& body, const std::vector<Tensor*>& inputs, int threads = 2,
                                   const std::vector<int>& over = {});

}  // namespace floe
