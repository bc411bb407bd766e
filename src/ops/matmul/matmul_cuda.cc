// matmul on the GPU. f32: our own product, whose rows do not depend on each other. bf16: cuBLASLt with bias
// and ReLU in its epilogue, other activations in a pass of our own.
#include <memory>

#include "kernel/cuda/activation.h"
#include "kernel/cuda/gemm.h"
#include "kernel/cuda/row_gemm.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

bool supports(const KernelSignature& s) {
  CudaActivation activation;
  const DType in = s.inputs[0];
  if (in != DType::f32 && in != DType::bf16) return false;
  for (const DType dtype : s.inputs) {
    if (dtype != in) return false;
  }
  if (s.outputs[0] != in && s.outputs[0] != DType::f32) return false;
  // A bias must have the type of the result, and is added in it.
  if (s.outputs[0] != in && s.inputs.size() > 2) return false;
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
  CudaActivation activation = CudaActivation::none;
  find_activation(call.attrs.text("activation", ""), &activation);
  const bool has_bias = call.inputs.size() > 2;
  if (shape.in == DType::f32) {
    const RowGemm rows{.m = shape.m,
                       .n = shape.n,
                       .k = shape.k,
                       .batch = shape.batch,
                       .transpose_a = shape.transpose_a,
                       .transpose_b = shape.transpose_b,
                       .activation = activation};
    BoundKernel bound;
    bound.run = [rows, has_bias](const KernelRun& run) {
      rows.run(run.inputs[0].as<float>(), run.inputs[1].as<float>(), run.outputs[0].as<float>(),
               has_bias ? run.inputs[2].as<float>() : nullptr, run.stream);
    };
    return bound;
  }
  // Without a product there is no epilogue either.
  const bool epilogue =
      shape.k > 0 && (activation == CudaActivation::none || activation == CudaActivation::relu);
  shape.bias = has_bias && epilogue;
  shape.relu = activation == CudaActivation::relu && epilogue;
  const auto gemm = std::make_shared<const CudaGemm>(shape);
  const bool after = !epilogue && (has_bias || activation != CudaActivation::none);
  BoundKernel bound;
  bound.workspace = gemm->workspace();
  bound.run = [gemm, activation, after, has_bias](const KernelRun& run) {
    const CudaGemmShape& s = gemm->shape();
    const void* bias = has_bias ? run.inputs[2].data : nullptr;
    gemm->run(run.inputs[0].data, run.inputs[1].data, run.outputs[0].data, bias, run.workspace, run.stream);
    if (!after) return;
    apply_activation({activation, s.out, run.outputs[0].data, bias, s.batch * s.m, s.n}, run.stream);
  };
  return bound;
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
