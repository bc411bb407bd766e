#include "testing/group_case.h"

#include <gtest/gtest.h>

#include <cstring>

#include "device/cpu/thread_pool.h"
#include "ops/group/lower.h"
#include "testing/op_case.h"

namespace floe {

std::vector<Tensor> run_group_body(const Graph& body, const std::vector<Tensor*>& inputs, int threads,
                                   const std::vector<int>& over) {
  Attrs attrs;
  attrs.set("tape", TapePtr(std::make_shared<Tape>(lower_group(body))));
  KernelSignature signature{"group", {}, {}, {}, &attrs};
  std::vector<View> in, out;
  std::vector<Tensor> results;
  for (Tensor* tensor : inputs) {
    in.push_back(view_of(*tensor));
    signature.inputs.push_back(tensor->dtype());
    signature.ranks.push_back(static_cast<int>(tensor->shape().size()));
  }
  for (const NamedValue& output : body.outputs()) {
    Shape shape;
    for (const Dim& dim : body.type(output.value).dims) shape.push_back(dim.constant());
    results.emplace_back(body.type(output.value).dtype, shape);
    signature.outputs.push_back(results.back().dtype());
  }
  for (size_t k = 0; k < results.size(); ++k) {
    out.push_back(view_of(results[k]));
    if (k < over.size() && over[k] >= 0) out[k].data = in[static_cast<size_t>(over[k])].data;
  }
  const Kernel* kernel = kernels_of(DeviceKind::cpu).find(DeviceKind::cpu, signature);
  EXPECT_NE(kernel, nullptr);
  const BoundKernel bound = kernel->bind({attrs, in, out, threads});
  Tensor workspace(DType::u8, {static_cast<int64_t>(bound.workspace)});
  ThreadPool pool(threads);
  bound.run({in, out, workspace.data(), &pool});
  for (size_t k = 0; k < results.size(); ++k) {
    if (out[k].data != results[k].data()) std::memcpy(results[k].data(), out[k].data, results[k].bytes());
  }
  return results;
}

}  // namespace floe
