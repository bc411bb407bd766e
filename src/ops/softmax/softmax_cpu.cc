// softmax and log_softmax of rows in f32; rows are independent.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/softmax/softmax_cpu.cc"
// clang-format off: first, since it compiles this file once for each target
#include "kernel/cpu/simd.h"
// clang-format on

#include "kernel/cpu/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

void softmax_rows(const float* x, float* y, int64_t rows, int64_t n, bool logarithm) {
  for (int64_t row = 0; row < rows; ++row) {
    if (logarithm) {
      log_softmax_row(x + row * n, y + row * n, n);
    } else {
      softmax_row(x + row * n, y + row * n, n, 1);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>

#include "device/cpu/thread_pool.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

HWY_EXPORT(softmax_rows);

constexpr int64_t kElementsPerTask = 1 << 14;  // tens of microseconds

}  // namespace

void add_softmax_cpu(KernelTable& table) {
  for (const char* op : {"softmax", "log_softmax"}) {
    Kernel kernel;
    kernel.op = op;
    kernel.name = std::string(op) + ".f32";
    kernel.supports = [](const KernelSignature& signature) { return signature.inputs[0] == DType::f32; };
    kernel.bind = [logarithm = kernel.op == "log_softmax"](const KernelCall& call) -> BoundKernel {
      const int64_t n = call.inputs[0].dim(-1);
      const int64_t rows = n == 0 ? 0 : call.inputs[0].rows();
      return {0, [=](const KernelRun& run) {
                const auto* x = run.inputs[0].as<float>();
                auto* y = run.outputs[0].as<float>();
                run.pool->run_ranges(rows, kElementsPerTask / std::max<int64_t>(1, n),
                                     [&](int64_t begin, int64_t end, int) {
                                       HWY_DYNAMIC_DISPATCH(softmax_rows)
                                       (x + begin * n, y + begin * n, end - begin, n, logarithm);
                                     });
              }};
    };
    kernel.in_place = {{0, 0}};
    table.add(std::move(kernel));
  }
}

}  // namespace floe
#endif  // HWY_ONCE
