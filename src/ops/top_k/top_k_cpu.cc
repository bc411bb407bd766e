// Rows are independent: one pass, a short ordered list, whole vectors skipped below its last value.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/top_k/top_k_cpu.cc"
#include "kernel/cpu/simd.h"
// After simd.h.
#include "kernel/cpu/top_scan-inl.h"
// The rest.
#include "device/cpu/thread_pool.h"
#include "kernel/kernel.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

void top_of_row(const float* x, int64_t n, TopList& top) {
  scan_top(x, n, top, [](auto, auto v) HWY_ATTR { return v; });
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floe {
namespace {

HWY_EXPORT(top_of_row);

void run_top_k(const KernelRun& run) {
  const View& x = run.inputs[0];
  const int64_t n = x.dim(-1);
  const int64_t k = run.outputs[0].dim(-1);
  const int64_t rows = run.outputs[0].size() / k;
  constexpr int64_t kElementsAtOnce = 1 << 14;  // a thread's share is worth its wake-up
  run.pool->run_ranges(rows, std::max<int64_t>(1, kElementsAtOnce / std::max<int64_t>(n, 1)),
                       [&](int64_t begin, int64_t end, int) {
                         for (int64_t row = begin; row < end; ++row) {
                           TopList top(run.outputs[0].as<float>() + row * k,
                                       run.outputs[1].as<int32_t>() + row * k, k);
                           HWY_DYNAMIC_DISPATCH(top_of_row)(x.as<float>() + row * n, n, top);
                         }
                       });
}

}  // namespace

void add_top_k_cpu(KernelTable& table) {
  Kernel kernel;
  kernel.op = "top_k";
  kernel.name = "top_k.f32";
  kernel.supports = [](const KernelSignature& s) { return s.inputs[0] == DType::f32; };
  kernel.bind = [](const KernelCall&) { return BoundKernel{0, run_top_k}; };
  table.add(std::move(kernel));
}

}  // namespace floe
#endif  // HWY_ONCE
