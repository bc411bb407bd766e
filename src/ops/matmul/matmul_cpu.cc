// matmul on the CPU: one Gemm a batch, bias and activation on each panel while it is in cache.
#include <fmt/core.h>

#include <memory>

#include "kernel/cpu/activation.h"
#include "kernel/cpu/gemm.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

bool supports(const KernelSignature& s) {
  RowActivation activation;
  for (const DType dtype : s.inputs) {
    if (dtype != DType::f32) return false;
  }
  if (s.outputs[0] != DType::f32) return false;
  return find_activation(s.attrs->text("activation", ""), &activation);
}

BoundKernel bind(const KernelCall& call) {
  const View &a = call.inputs[0], &b = call.inputs[1], &c = call.outputs[0];
  const bool transpose_a = call.attrs.flag("transpose_a", false);
  const bool transpose_b = call.attrs.flag("transpose_b", false);
  RowActivation activation = RowActivation::none;
  find_activation(call.attrs.text("activation", ""), &activation);
  GemmShape shape{.m = c.dim(-2),
                  .n = c.dim(-1),
                  .k = a.dim(transpose_a ? -2 : -1),
                  .transpose_a = transpose_a,
                  .transpose_b = transpose_b};
  int64_t batches = 1;
  for (int i = 0; i + 2 < c.rank; ++i) batches *= c.dim(i);
  if (b.rank == 2) {  // the rows of all batches are rows of one product
    shape.m *= batches;
    batches = 1;
  }
  const auto gemm = std::make_shared<const Gemm>(shape);
  BoundKernel bound;
  bound.workspace = gemm->workspace(call.threads);
  bound.run = [gemm, batches, activation](const KernelRun& run) {
    const GemmShape& s = gemm->shape();
    const float* bias = run.inputs.size() > 2 ? run.inputs[2].as<float>() : nullptr;
    for (int64_t batch = 0; batch < batches; ++batch) {
      const float* a = run.inputs[0].as<float>() + batch * s.m * s.k;
      float* c = run.outputs[0].as<float>() + batch * s.m * s.n;
      Gemm::Epilogue epilogue;
      if (activation != RowActivation::none) {
        epilogue = [&](const Gemm::Panel& p) {
          apply_activation(activation, c + p.row * s.ldc + p.column, s.ldc, p.rows, p.columns);
        };
      }
      if (run.packed != nullptr) {
        gemm->run_packed(a, run.packed, c, bias, run.workspace, *run.pool, epilogue);
      } else {
        const float* b = run.inputs[1].as<float>() + batch * s.k * s.n;
        gemm->run(a, b, c, bias, run.workspace, *run.pool, epilogue);
      }
    }
  };
  if ((call.frozen_inputs & 2) != 0 && b.rank == 2) {
    bound.pack = {.input = 1,
                  .key = fmt::format("gemm {} {}{}", shape.k, shape.n, transpose_b ? " transposed" : ""),
                  .bytes = gemm->packed_bytes(),
                  .make = [gemm](const View& weight, void* packed, ThreadPool& pool) {
                    gemm->pack(weight.as<float>(), packed, pool);
                  }};
  }
  return bound;
}

}  // namespace

void add_matmul_cpu(KernelTable& table) {
  table.add({.op = "matmul", .name = "matmul.f32", .supports = supports, .bind = bind});
}

}  // namespace floe
