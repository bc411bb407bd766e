// linear_grad on the GPU, bf16: cuBLASLt's product with the sums of dy's rows in its epilogue, or the product
// and a pass over dy (kernel/cuda/gemm.h says which). f32 has no kernel: its products are our own, whose rows
// do not depend on each other (matmul).
#include <memory>

#include "kernel/cuda/gemm.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

bool supports(const KernelSignature& s) {
  return s.inputs[0] == DType::bf16 && s.inputs[1] == DType::bf16 && s.outputs[0] == DType::f32 &&
         s.outputs[1] == DType::f32;
}

BoundKernel bind(const KernelCall& call) {
  const View &x = call.inputs[0], &dy = call.inputs[1];
  const bool input_first = call.attrs.flag("input_first", false);
  const auto gemm =
      std::make_shared<const CudaGemm>(CudaGemmShape{.m = (input_first ? x : dy).dim(1),
                                                     .n = (input_first ? dy : x).dim(1),
                                                     .k = x.dim(0),
                                                     .transpose_a = true,
                                                     .in = DType::bf16,
                                                     .out = DType::f32,
                                                     .sums = input_first ? GemmSums::of_b : GemmSums::of_a});
  return {gemm->workspace(), [gemm, input_first](const KernelRun& run) {
            gemm->run({.a = run.inputs[input_first ? 0 : 1].data,
                       .b = run.inputs[input_first ? 1 : 0].data,
                       .c = run.outputs[0].data,
                       .sums = run.outputs[1].as<float>()},
                      run.workspace, run.stream);
          }};
}

}  // namespace

void add_linear_grad_cuda(KernelTable& table) {
  table.add({.op = "linear_grad",
             .device = DeviceKind::cuda,
             .name = "linear_grad.cublaslt",
             .supports = supports,
             .bind = bind});
}

}  // namespace floe
