// Blocks of kSumBlock in f32, their sums in order in double.
#include <algorithm>

#include "device/cpu/thread_pool.h"
#include "kernel/cpu/sums.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int64_t kBlocksPerTask = 8;

int64_t blocks_of(const View& x) { return (x.size() + kSumBlock - 1) / kSumBlock; }

BoundKernel bind(const KernelCall& call) {
  int64_t all = 0;
  for (const View& x : call.inputs) all += blocks_of(x);
  return {static_cast<size_t>(all) * sizeof(float), [=](const KernelRun& run) {
            float* sums = static_cast<float*>(run.workspace);
            int64_t first = 0;
            for (const View& view : run.inputs) {
              const float* x = view.as<float>();
              const int64_t n = view.size();
              run.pool->run_ranges(blocks_of(view), kBlocksPerTask, [&](int64_t begin, int64_t end, int) {
                for (int64_t k = begin; k < end; ++k) {
                  sums[first + k] =
                      block_sum_squares(x + k * kSumBlock, std::min(kSumBlock, n - k * kSumBlock));
                }
              });
              first += blocks_of(view);
            }
            double total = 0;
            for (int64_t k = 0; k < all; ++k) total += sums[k];
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
