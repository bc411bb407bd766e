// matmul on the GPU. f32: our own product, whose rows do not depend on each other. bf16: cuBLASLt with bias
// and ReLU in its epilogue, other activations in a pass of our own over the result as it is stored, so a bf16
// result is rounded once before and once after.
#include <memory>

#include "kernel/cuda/gemm.h"
#include "kernel/cuda/row_gemm.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

bool supports(const KernelSignature& s) {
  CudaActivation activation;
  const DType in = s.inputs[0];
  if (in != DType::f32 && in != DType::bf16) return false;
  if (s.inputs[1] != in || (s.outputs[0] != in && s.outputs[0] != DType::f32)) return false;
  if (s.inputs.size() > 2 && s.inputs[2] != s.outputs[0]) return false;
  return find_activation(s.attrs->text("activation", ""), &activation);
}

BoundKernel bind(const KernelCall& call) {
  const View &a = call.inputs[0], &b = call.inputs[1], &c = call.outputs[0];
  CudaGemmShape shape;
  shape.transpose_a = call.attrs.flag("transpose_a", false);
  shape.transpose_b = call.attrs.flag("transpose_b", false);
  shape.m = c.dim(-2);
  shape.n = c.dim(-1);
  shape.k = a.dim(shape.transpose_a ? -2 : -1);
  shape.in = a.dtype;
  shape.out = c.dtype;
  for (int i = 0; i + 2 < c.rank; ++i) shape.batch *= c.dim(i);
  if (b.rank == 2) {  // the rows of all batches are rows of one product
    shape.m *= shape.batch;
    shape.batch = 1;
  }
  shape.bias = call.inputs.size() > 2;
  find_activation(call.attrs.text("activation", ""), &shape.activation);
  if (shape.in == DType::f32) {
    const RowGemm rows{.m = shape.m,
                       .n = shape.n,
                       .k = shape.k,
                       .batch = shape.batch,
                       .transpose_a = shape.transpose_a,
                       .transpose_b = shape.transpose_b,
                       .activation = shape.activation};
    return {0, [rows, has_bias = shape.bias](const KernelRun& run) {
              rows.run(run.inputs[0].as<float>(), run.inputs[1].as<float>(), run.outputs[0].as<float>(),
                       has_bias ? run.inputs[2].as<float>() : nullptr, run.stream);
            }};
  }
  const auto gemm = std::make_shared<const CudaGemm>(shape);
  return {gemm->workspace(), [gemm](const KernelRun& run) {
            gemm->run({.a = run.inputs[0].data,
                       .b = run.inputs[1].data,
                       .c = run.outputs[0].data,
                       .bias = run.inputs.size() > 2 ? run.inputs[2].data : nullptr},
                      run.workspace, run.stream);
          }};
}

}  // namespace

void add_matmul_cuda(KernelTable& table) {
  table.add({.op = "matmul",
             .device = DeviceKind::cuda,
             .name = "matmul.cuda",
             .supports = supports,
             .bind = bind});
}

}  // namespace floe
