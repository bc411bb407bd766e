// scatter on the GPU: x is copied, then a thread has a column of the rows and joins all updates to it one
// after the other, so that the order of a row's updates is theirs. An index outside 0..n-1 cannot be refused
// here: its update is left out.
#include "device/cuda/launch.cuh"
#include "kernel/kernel.h"
#include "ops/scatter/scatter_join_kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 128;

template <class T>
struct ScatterCall {
  T* y;
  const void* indices;
  const T* updates;
  int64_t n, m, d;
  Join join;
};

template <class T, class Index>
__global__ void __launch_bounds__(kThreads) scatter_kernel(const ScatterCall<T> call) {
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= call.d) return;
  const Index* indices = static_cast<const Index*>(call.indices);
  for (int64_t k = 0; k < call.m; ++k) {
    const auto index = static_cast<int64_t>(indices[k]);
    if (index < 0 || index >= call.n) continue;
    T& to = call.y[index * call.d + column];
    to = joined(call.join, to, call.updates[k * call.d + column]);
  }
}

template <class T>
BoundKernel bind(const KernelCall& call) {
  const View &x = call.inputs[0], &indices = call.inputs[1];
  ScatterCall<T> args{};
  args.join = join_of(call.attrs.text("reduction"));
  args.n = x.dims[0];
  args.m = indices.size();
  args.d = args.n == 0 ? 0 : x.size() / args.n;
  const bool wide = indices.dtype == DType::i64;
  const size_t bytes = x.bytes();
  return {0, [=](const KernelRun& run) {
            if (bytes == 0) return;
            FLOE_CUDA_CALL(cudaMemcpyAsync(run.outputs[0].data, run.inputs[0].data, bytes,
                                           cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(run.stream)));
            ScatterCall<T> now = args;
            now.y = run.outputs[0].as<T>();
            now.indices = run.inputs[1].data;
            now.updates = run.inputs[2].as<T>();
            launch("scatter", wide ? scatter_kernel<T, int64_t> : scatter_kernel<T, int32_t>,
                   {.grid = dim3(blocks_for(now.d, kThreads)), .block = dim3(kThreads)}, run.stream, now);
          }};
}

template <class T>
void add_kernel(KernelTable& table, DType dtype) {
  table.add({.op = "scatter",
             .device = DeviceKind::cuda,
             .name = "scatter." + std::string(name_of(dtype)),
             .supports = [dtype](const KernelSignature& s) { return s.inputs[0] == dtype; },
             .bind = bind<T>});
}

}  // namespace

void add_scatter_cuda(KernelTable& table) {
  add_kernel<float>(table, DType::f32);
  add_kernel<int8_t>(table, DType::i8);
  add_kernel<uint8_t>(table, DType::u8);
  add_kernel<uint8_t>(table, DType::boolean);
  add_kernel<int32_t>(table, DType::i32);
  add_kernel<int64_t>(table, DType::i64);
}

}  // namespace floe
