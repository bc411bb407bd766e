// What a concatenation copies: each input to its place.
#pragma once
#include <vector>

#include "kernel/copy_plan.h"

namespace floe {

inline std::vector<Copy> concat_copies(const KernelCall& call) {
  const View& y = call.outputs[0];
  const int64_t given = call.attrs.integer("axis");
  const auto axis = static_cast<int>(given < 0 ? given + y.rank : given);
  std::vector<Copy> copies;
  int64_t begin = 0;
  for (size_t k = 0; k < call.inputs.size(); ++k) {
    const View& x = call.inputs[k];
    const size_t element = size_of(x.dtype);
    const CopyPlan plan =
        simplify({.rank = x.rank, .dims = x.dims, .from = x.strides, .to = y.strides, .element = element});
    copies.push_back({.plan = plan,
                      .input = static_cast<int>(k),
                      .to = begin * y.strides[axis] * static_cast<int64_t>(element)});
    begin += x.dims[axis];
  }
  return copies;
}

inline CopyKernel concat_kernel() { return {.op = "concat", .of = concat_copies, .strided_inputs = ~0u}; }

}  // namespace floe
