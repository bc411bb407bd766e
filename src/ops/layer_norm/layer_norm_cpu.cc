#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/layer_norm/layer_norm_cpu.cc"
// clang-format off: first, since it compiles this file once for each target
#include "kernel/cpu/simd.h"
// clang-format on

#include "kernel/cpu/norm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

void layer_norm_rows(const NormRows& rows) { norm_rows<true>(rows); }
void layer_norm_grad_rows(const NormGradRows& rows) { norm_grad_rows<true>(rows); }

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cstring>

#include "kernel/kernel.h"

namespace floe {
namespace {

HWY_EXPORT(layer_norm_rows);
HWY_EXPORT(layer_norm_grad_rows);

constexpr int64_t kElementsPerTask = 1 << 14;  // ten microseconds or so

bool all_f32(const KernelSignature& signature) {
  for (const DType type : signature.inputs) {
    if (type != DType::f32) return false;
  }
  return true;
}

BoundKernel bind_forward(const KernelCall& call) {
  const int64_t n = call.inputs[0].dim(-1);
  const int64_t rows = call.inputs[0].rows();
  const auto eps = static_cast<float>(call.attrs.number("eps"));
  return {0, [=](const KernelRun& run) {
            const NormRows all{run.inputs[0].as<float>(),
                               run.inputs[1].as<float>(),
                               run.inputs[2].as<float>(),
                               run.outputs[0].as<float>(),
                               0,
                               rows,
                               n,
                               eps};
            run.pool->run_ranges(rows, kElementsPerTask / n, [&](int64_t begin, int64_t end, int) {
              NormRows some = all;
              some.begin = begin;
              some.end = end;
              HWY_DYNAMIC_DISPATCH(layer_norm_rows)(some);
            });
          }};
}

BoundKernel bind_grad(const KernelCall& call) {
  const int64_t n = call.inputs[0].dim(-1);
  const RowBlocks blocks(call.inputs[0].rows());
  const auto eps = static_cast<float>(call.attrs.number("eps"));
  return {static_cast<size_t>(2 * blocks.blocks * n) * sizeof(float), [=](const KernelRun& run) {
            auto* dgamma = static_cast<float*>(run.workspace);
            float* dbeta = dgamma + blocks.blocks * n;
            run.pool->run(blocks.blocks, [&](int64_t block, int) {
              std::memset(dgamma + block * n, 0, static_cast<size_t>(n) * sizeof(float));
              std::memset(dbeta + block * n, 0, static_cast<size_t>(n) * sizeof(float));
              HWY_DYNAMIC_DISPATCH(layer_norm_grad_rows)
              ({run.inputs[0].as<float>(), run.inputs[1].as<float>(), run.inputs[2].as<float>(),
                run.outputs[0].as<float>(), dgamma + block * n, dbeta + block * n, block * blocks.block,
                std::min(blocks.rows, (block + 1) * blocks.block), n, eps});
            });
            sum_blocks(*run.pool, dgamma, blocks.blocks, n, run.outputs[1].as<float>());
            sum_blocks(*run.pool, dbeta, blocks.blocks, n, run.outputs[2].as<float>());
          }};
}

}  // namespace

void add_layer_norm_cpu(KernelTable& table) {
  Kernel forward;
  forward.op = "layer_norm";
  forward.name = "layer_norm.f32";
  forward.supports = all_f32;
  forward.bind = bind_forward;
  table.add(std::move(forward));

  Kernel grad;
  grad.op = "layer_norm_grad";
  grad.name = "layer_norm_grad.f32";
  grad.supports = all_f32;
  grad.bind = bind_grad;
  table.add(std::move(grad));
}

}  // namespace floe
#endif  // HWY_ONCE
