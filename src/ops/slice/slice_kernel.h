// What a slice copies: one run of elements from where it begins.
#pragma once
#include <vector>

#include "base/error.h"
#include "kernel/copy_plan.h"

namespace floe {

inline std::vector<Copy> slice_copies(const KernelCall& call) {
  const View &x = call.inputs[0], &y = call.outputs[0];
  const int64_t given = call.attrs.integer("axis");
  const auto axis = static_cast<int>(given < 0 ? given + x.rank : given);
  const int64_t begin = call.attrs.integers("begin")[0];
  FLOE_CHECK(begin >= 0 && begin + y.dims[axis] <= x.dims[axis], "slice {} + {} of {}", begin, y.dims[axis],
             x.dims[axis]);
  const CopyPlan plan = simplify(
      {.rank = y.rank, .dims = y.dims, .from = x.strides, .to = y.strides, .element = size_of(y.dtype)});
  return {{.plan = plan, .from = begin * x.strides[axis] * static_cast<int64_t>(plan.element)}};
}

inline CopyKernel slice_kernel() { return {.op = "slice", .of = slice_copies}; }

}  // namespace floe
