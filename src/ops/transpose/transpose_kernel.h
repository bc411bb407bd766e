// What a transpose copies: everything, with the input's strides permuted.
#pragma once
#include <vector>

#include "kernel/copy_plan.h"

namespace floe {

inline std::vector<Copy> transpose_copies(const KernelCall& call) {
  const View &x = call.inputs[0], &y = call.outputs[0];
  const std::vector<int64_t>& perm = call.attrs.integers("perm");
  CopyPlan plan{.rank = y.rank, .dims = y.dims, .to = y.strides, .element = size_of(y.dtype)};
  for (int i = 0; i < y.rank; ++i) plan.from[i] = x.strides[perm[static_cast<size_t>(i)]];
  return {{.plan = simplify(plan)}};
}

inline CopyKernel transpose_kernel() { return {.op = "transpose", .of = transpose_copies}; }

}  // namespace floe
