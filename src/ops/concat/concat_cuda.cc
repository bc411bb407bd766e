// One strided copy for each input, of any type.
#include <vector>

#include "kernel/cuda/strided_copy.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

struct Part {
  CopyPlan plan;
  int64_t offset;  // bytes in the result
};

BoundKernel bind(const KernelCall& call) {
  const View& y = call.outputs[0];
  const int64_t given = call.attrs.integer("axis");
  const auto axis = static_cast<int>(given < 0 ? given + y.rank : given);
  std::vector<Part> parts;
  int64_t begin = 0;
  for (const View& x : call.inputs) {
    const size_t element = size_of(x.dtype);
    parts.push_back(
        {simplify({.rank = x.rank, .dims = x.dims, .from = x.strides, .to = y.strides, .element = element}),
         begin * y.strides[axis] * static_cast<int64_t>(element)});
    begin += x.dims[axis];
  }
  return {0, [parts](const KernelRun& run) {
            for (size_t k = 0; k < parts.size(); ++k) {
              queue_strided_copy(parts[k].plan, run.inputs[k].data,
                                 run.outputs[0].as<char>() + parts[k].offset, run.stream);
            }
          }};
}

}  // namespace

void add_concat_cuda(KernelTable& table) {
  table.add({.op = "concat",
             .device = DeviceKind::cuda,
             .name = "concat.any",
             .supports = [](const KernelSignature&) { return true; },
             .bind = bind,
             .strided_inputs = ~0u});
}

}  // namespace floe
