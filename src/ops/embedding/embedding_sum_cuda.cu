// embedding_sum: a thread a few neighbours of a row, both tables' rows asked for together. An id outside its
// table gives a row of NaN.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/half_types.cuh"
#include "kernel/cuda/row.cuh"
#include "kernel/kernel.h"
#include "ops/embedding/embedding_kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 128;

struct SumCall {
  const int32_t *ids, *added_ids;
  int64_t n, rows, added_rows, width;  // positions; rows of the tables; of a row, in vectors
  float scale;
};

template <class T, class Out, int kVector>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(const __grid_constant__ SumCall call, const T* table, const T* added_table, Out* out) {
  let_next_start();
  wait_for_previous();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= call.n * call.width) return;
  const int64_t at = i / call.width, column = i % call.width * kVector;
  const int64_t id = call.ids[at], added_id = call.added_ids[at];
  const bool inside = id >= 0 && id < call.rows && added_id >= 0 && added_id < call.added_rows;
  float x[kVector], y[kVector];
  if (inside) {
    load_floats(table + id * call.width * kVector + column, x);
    load_floats(added_table + added_id * call.width * kVector + column, y);
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k)
    x[k] = inside ? __fadd_rn(__fmul_rn(x[k], call.scale), y[k]) : __int_as_float(0x7FC00000);
  store_floats(out + at * call.width * kVector + column, x);
}

template <class T, class Out, int kVector>
BoundKernel bind_of(SumCall call) {
  call.width /= kVector;
  return {
      0, [call](const KernelRun& run) {
        SumCall now = call;
        now.ids = run.inputs[1].as<int32_t>();
        now.added_ids = run.inputs[3].as<int32_t>();
        launch(
            "embedding_sum", sum_kernel<T, Out, kVector>,
            {.grid = dim3(blocks_for(now.n * now.width, kThreads)), .block = dim3(kThreads), .overlap = true},
            run.stream, now, run.inputs[0].as<T>(), run.inputs[2].as<T>(), run.outputs[0].as<Out>());
      }};
}

template <class T, class Out>
BoundKernel bind(const KernelCall& call) {
  SumCall sum{};
  sum.n = call.inputs[1].size();
  sum.rows = call.inputs[0].dim(0);
  sum.added_rows = call.inputs[2].dim(0);
  sum.width = call.inputs[0].dim(1);
  sum.scale = static_cast<float>(call.attrs.number("scale"));
  constexpr int kVector = 4;
  return sum.width % kVector == 0 ? bind_of<T, Out, kVector>(sum) : bind_of<T, Out, 1>(sum);
}

template <class T, class Out>
void add_of(KernelTable& table, DType type, DType out) {
  table.add({.op = "embedding_sum",
             .device = DeviceKind::cuda,
             .name = "embedding_sum." + std::string(name_of(type)) + "." + std::string(name_of(out)),
             .supports =
                 [type, out](const KernelSignature& s) {
                   return s.inputs[0] == type && s.inputs[2] == type && s.outputs[0] == out;
                 },
             .bind = bind<T, Out>});
}

}  // namespace

void add_embedding_sum_cuda(KernelTable& table) {
  add_of<float, float>(table, DType::f32, DType::f32);
  add_of<__nv_bfloat16, float>(table, DType::bf16, DType::f32);
  add_of<__nv_bfloat16, __nv_bfloat16>(table, DType::bf16, DType::bf16);
}

}  // namespace floe
