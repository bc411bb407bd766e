// Blocks of kSumBlock in f32, their sums in order in double.
#include <algorithm>

#include "device/cpu/thread_pool.h"
#include "kernel/cpu/sums.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int64_t kBlocksPerTask = 8;

BoundKernel bind(const KernelCall& call) {
  const int64_t n = call.inputs[0].size();
  const int64_t blocks = (n + kSumBlock - 1) / kSumBlock;
  return {static_cast<size_t>(blocks) * sizeof(float), [=](const KernelRun& run) {
            const float* x = run.inputs[0].as<float>();
            float* sums = static_cast<float*>(run.workspace);
            run.pool->run_ranges(blocks, kBlocksPerTask, [&](int64_t begin, int64_t end, int) {
              for (int64_t k = begin; k < end; ++k) {
                sums[k] = block_sum_squares(x + k * kSumBlock, std::min(kSumBlock, n - k * kSumBlock));
              }
            });
            double total = 0;
            for (int64_t k = 0; k < blocks; ++k) total += sums[k];
            *run.outputs[0].as<float>() = static_cast<float>(total);
          }};
}

}  // namespace

void add_sum_squares_cpu(KernelTable& table) {
  table.add({.op = "sum_squares",
             .name = "sum_squares.f32",
             .supports = [](const KernelSignature& s) { return s.inputs[0] == DType::f32; },
             .bind = bind});
}

}  // namespace floe
