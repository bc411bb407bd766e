// gather on the GPU: a thread a word of the result, of the widest kind that divides the run of elements
// behind the axis. An index outside 0..n-1 cannot be refused here: its run is NaN, or zeros for integers.
#include "device/cuda/launch.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 256;

struct GatherCall {
  const void *x, *indices;
  void* y;
  int64_t many, n;       // indices; places along the axis
  int64_t words, total;  // of a run; of the result
  bool floats;
};

template <class Word, class Index>
__global__ void __launch_bounds__(kThreads) gather_kernel(const GatherCall call) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= call.total) return;
  const int64_t run = at / call.words, word = at % call.words;
  const auto index = static_cast<int64_t>(static_cast<const Index*>(call.indices)[run % call.many]);
  Word value;
  if (index >= 0 && index < call.n) {
    value = static_cast<const Word*>(call.x)[(run / call.many * call.n + index) * call.words + word];
  } else {
    memset(&value, call.floats ? 0xff : 0, sizeof(Word));  // ones are a NaN in every floating type
  }
  static_cast<Word*>(call.y)[at] = value;
}

template <class Index, class F>
void with_word(int64_t bytes, F f) {
  if (bytes % 16 == 0) return f(gather_kernel<uint4, Index>, 16);
  if (bytes % 8 == 0) return f(gather_kernel<uint2, Index>, 8);
  if (bytes % 4 == 0) return f(gather_kernel<uint32_t, Index>, 4);
  if (bytes % 2 == 0) return f(gather_kernel<uint16_t, Index>, 2);
  f(gather_kernel<uint8_t, Index>, 1);
}

template <class Index>
BoundKernel bind(const KernelCall& call) {
  const View &x = call.inputs[0], &indices = call.inputs[1];
  const int64_t given = call.attrs.integer("axis");
  const auto axis = static_cast<int>(given < 0 ? given + x.rank : given);
  int64_t outer = 1, bytes = static_cast<int64_t>(size_of(x.dtype));
  for (int i = 0; i < axis; ++i) outer *= x.dims[i];
  for (int i = axis + 1; i < x.rank; ++i) bytes *= x.dims[i];
  if (call.outputs[0].size() == 0) return {0, [](const KernelRun&) {}};
  GatherCall args{};
  args.many = indices.size();
  args.n = x.dims[axis];
  args.floats = is_float(x.dtype);
  BoundKernel bound;
  with_word<Index>(bytes, [&](auto* kernel, int64_t word) {
    args.words = bytes / word;
    args.total = outer * args.many * args.words;
    bound.run = [args, kernel](const KernelRun& run) {
      GatherCall now = args;
      now.x = run.inputs[0].data;
      now.indices = run.inputs[1].data;
      now.y = run.outputs[0].data;
      launch("gather", kernel, {.grid = dim3(blocks_for(now.total, kThreads)), .block = dim3(kThreads)},
             run.stream, now);
    };
  });
  return bound;
}

}  // namespace

void add_gather_cuda(KernelTable& table) {
  for (const bool wide : {false, true}) {
    const DType index = wide ? DType::i64 : DType::i32;
    table.add({.op = "gather",
               .device = DeviceKind::cuda,
               .name = wide ? "gather.i64" : "gather.i32",
               .supports = [index](const KernelSignature& s) { return s.inputs[1] == index; },
               .bind = wide ? bind<int64_t> : bind<int32_t>});
  }
}

}  // namespace floe
