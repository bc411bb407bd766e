// matmul_int8 on the CPU: one GemmInt8 over all rows, the activation on each panel while it is in cache.
#include <fmt/core.h>

#include <memory>

#include "kernel/cpu/activation.h"
#include "kernel/cpu/gemm_int8.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

bool supports(const KernelSignature& s) {
  RowActivation activation;
  return find_activation(s.attrs->text("activation", ""), &activation);
}

BoundKernel bind(const KernelCall& call) {
  const View &w = call.inputs[2], &c = call.outputs[0];
  const int64_t n = w.dim(0), k = w.dim(1);
  const int64_t m = n == 0 ? 0 : c.size() / n;
  RowActivation activation = RowActivation::none;
  find_activation(call.attrs.text("activation", ""), &activation);
  const auto gemm = std::make_shared<const GemmInt8>(m, n, k);
  const bool frozen = (call.frozen_inputs & 4) != 0;
  const bool a_scale_each = call.inputs[1].rank > 0, b_scale_each = call.inputs[3].rank > 0;
  BoundKernel bound;
  bound.workspace = gemm->workspace(call.threads, frozen);
  bound.run = [=](const KernelRun& run) {
    float* c = run.outputs[0].as<float>();
    GemmInt8::Epilogue epilogue;
    if (activation != RowActivation::none) {
      epilogue = [&](const GemmInt8::Panel& p) {
        apply_activation(activation, c + p.row * n + p.column, n, p.rows, p.columns);
      };
    }
    gemm->run({.a = run.inputs[0].as<int8_t>(),
               .packed_b = run.packed,
               .b = run.inputs[2].as<int8_t>(),
               .a_scale = run.inputs[1].as<float>(),
               .b_scale = run.inputs[3].as<float>(),
               .a_scale_each = a_scale_each,
               .b_scale_each = b_scale_each,
               .bias = run.inputs.size() > 4 ? run.inputs[4].as<float>() : nullptr,
               .c = c},
              run.workspace, *run.pool, epilogue);
  };
  if (frozen) {
    bound.pack = {.input = 2,
                  .key = fmt::format("int8 {} {}", k, n),
                  .bytes = gemm->packed_bytes(),
                  .make = [gemm](const View& weight, void* packed, ThreadPool& pool) {
                    gemm->pack(weight.as<int8_t>(), packed, pool);
                  }};
  }
  return bound;
}

}  // namespace

void add_matmul_int8_cpu(KernelTable& table) {
  table.add({.op = "matmul_int8", .name = "matmul_int8.cpu", .supports = supports, .bind = bind});
}

}  // namespace floe
