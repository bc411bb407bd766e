// softmax and log_softmax of rows: a warp or a block has a row, keeps it in registers where it can
// (kernel/cuda/row.cuh) and computes in f32. Long rows are read three times, twice of these from the L2
// cache.
#include <cmath>
#include <string>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

struct Largest {  // a NaN is passed over: it makes the sum NaN
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// y may be x: a thread writes what it alone has read.
template <bool kLogarithm, class T, class Plan>
__global__ void __launch_bounds__(Plan::kBlock) softmax_kernel(const T* x, T* y, int64_t rows, int64_t n) {
  const int64_t at = int64_t{blockIdx.x} * Plan::kRows + threadIdx.x / Plan::kThreads;
  if (at >= rows) return;  // a whole warp
  Row<T, Plan> row;
  row.load(x + at * n, n);
  float top[1] = {-INFINITY};
  Plan::each(n, [&](int chunk, typename Plan::Index column) {
    float v[Plan::kVector];
    row.get(chunk, column, v);
#pragma unroll
    for (int i = 0; i < Plan::kVector; ++i) top[0] = fmaxf(top[0], v[i]);
  });
  fold_threads<Plan::kThreads>(top, Largest());
  const float shift = top[0] == -INFINITY ? 0.0f : top[0];  // a row of -inf has sum 0, not NaN
  float sum[1] = {0};
  Plan::each(n, [&](int chunk, typename Plan::Index column) {
    float v[Plan::kVector];
    row.get(chunk, column, v);
#pragma unroll
    for (int i = 0; i < Plan::kVector; ++i) sum[0] += expf(v[i] - shift);
  });
  fold_threads<Plan::kThreads>(sum, AddFloats());
  const float log_sum = sum[0] == 0 ? 0.0f : logf(sum[0]);
  const float factor = sum[0] == 0 ? 0.0f : 1.0f / sum[0];
  T* to = y + at * n;
  Plan::each(n, [&](int chunk, typename Plan::Index column) {
    float v[Plan::kVector];
    row.get(chunk, column, v);
#pragma unroll
    for (int i = 0; i < Plan::kVector; ++i) {
      v[i] = kLogarithm ? v[i] - shift - log_sum : expf(v[i] - shift) * factor;
    }
    store_floats(to + column, v);
  });
}

template <bool kLogarithm, class T>
BoundKernel bind(const KernelCall& call) {
  const int64_t n = call.inputs[0].dim(-1);
  const int64_t rows = n == 0 ? 0 : call.inputs[0].rows();
  return with_row_plan<T>(n, [&]<class Plan>(Plan) -> BoundKernel {
    return {0, [rows, n](const KernelRun& run) {
              launch("softmax", softmax_kernel<kLogarithm, T, Plan>,
                     {.grid = dim3(blocks_for(rows, Plan::kRows)), .block = dim3(Plan::kBlock)}, run.stream,
                     run.inputs[0].as<T>(), run.outputs[0].as<T>(), rows, n);
            }};
  });
}

template <bool kLogarithm, class T>
void add(KernelTable& table, const std::string& op, const std::string& type, DType dtype) {
  table.add({.op = op,
             .device = DeviceKind::cuda,
             .name = op + "." + type,
             .supports = [dtype](const KernelSignature& s) { return s.inputs[0] == dtype; },
             .bind = bind<kLogarithm, T>,
             .in_place = {{0, 0}}});
}

template <class T>
void add_both(KernelTable& table, const std::string& type, DType dtype) {
  add<false, T>(table, "softmax", type, dtype);
  add<true, T>(table, "log_softmax", type, dtype);
}

}  // namespace

void add_softmax_cuda(KernelTable& table) {
  add_both<float>(table, "f32", DType::f32);
  add_both<__nv_bfloat16>(table, "bf16", DType::bf16);
  add_both<__half>(table, "f16", DType::f16);
}

}  // namespace floe
