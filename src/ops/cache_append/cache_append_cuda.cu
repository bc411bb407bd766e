// Copies new keys or values to the cache slots that each row's table names, a thread a word. A position
// outside its table and a table entry outside the cache are left out, as -1 is: a GPU's kernel cannot refuse
// them.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 256;

struct AppendCall {
  const int32_t *table, *positions;
  int64_t rows, times, heads, words;             // of what is added; words of a head
  int64_t row_stride, time_stride, head_stride;  // words
  int64_t blocks, block, table_width;
};

template <class Word>
__global__ void __launch_bounds__(kThreads) append_kernel(const Word* from, Word* cache, AppendCall call) {
  int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= call.rows * call.times * call.heads * call.words) return;
  const int64_t word = at % call.words;
  at /= call.words;
  const int64_t head = at % call.heads;
  at /= call.heads;
  const int64_t time = at % call.times, row = at / call.times;
  const int64_t position = int64_t{call.positions[row]} + time;
  if (position < 0 || position >= call.table_width * call.block) return;
  const int64_t slot = call.table[row * call.table_width + position / call.block];
  if (slot < 0 || slot >= call.blocks) return;
  cache[((slot * call.block + position % call.block) * call.heads + head) * call.words + word] =
      from[row * call.row_stride + time * call.time_stride + head * call.head_stride + word];
}

BoundKernel bind(const KernelCall& call) {
  const View cache = call.inputs[0], added = call.inputs[1];
  const auto size = static_cast<int64_t>(size_of(cache.dtype));
  AppendCall args{};
  args.rows = added.dims[0];
  args.times = added.dims[1];
  args.heads = added.dims[2];
  args.blocks = cache.dims[0];
  args.block = cache.dims[1];
  args.table_width = call.inputs[2].dims[1];
  const int64_t head_bytes = cache.dims[3] * size;
  const auto strides_divide = [=](int64_t bytes) {
    return head_bytes % bytes == 0 && added.strides[0] * size % bytes == 0 &&
           added.strides[1] * size % bytes == 0 && added.strides[2] * size % bytes == 0;
  };
  return {0, [=](const KernelRun& run) {
            if (run.outputs[0].data != run.inputs[0].data && cache.size() > 0) {
              FLOE_CUDA_CALL(cudaMemcpyAsync(
                  run.outputs[0].data, run.inputs[0].data, static_cast<size_t>(cache.size() * size),
                  cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(run.stream)));
            }
            const auto queue = [&]<class Word>(Word) {
              constexpr auto kBytes = static_cast<int64_t>(sizeof(Word));
              AppendCall now = args;
              now.table = run.inputs[2].as<int32_t>();
              now.positions = run.inputs[3].as<int32_t>();
              now.words = head_bytes / kBytes;
              now.row_stride = added.strides[0] * size / kBytes;
              now.time_stride = added.strides[1] * size / kBytes;
              now.head_stride = added.strides[2] * size / kBytes;
              launch("cache_append", append_kernel<Word>,
                     {.grid = dim3(blocks_for(now.rows * now.times * now.heads * now.words, kThreads)),
                      .block = dim3(kThreads)},
                     run.stream, static_cast<const Word*>(run.inputs[1].data),
                     static_cast<Word*>(run.outputs[0].data), now);
            };
            const auto addresses = reinterpret_cast<uintptr_t>(run.inputs[1].data) |
                                   reinterpret_cast<uintptr_t>(run.outputs[0].data);
            const auto fits = [&](int64_t bytes) {
              return strides_divide(bytes) && addresses % static_cast<uintptr_t>(bytes) == 0;
            };
            if (fits(16)) return queue(uint4());
            if (fits(8)) return queue(uint2());
            if (fits(4)) return queue(uint32_t());
            if (fits(2)) return queue(uint16_t());
            queue(uint8_t());
          }};
}

}  // namespace

void add_cache_append_cuda(KernelTable& table) {
  table.add({.op = "cache_append",
             .device = DeviceKind::cuda,
             .name = "cache_append",
             .supports = [](const KernelSignature&) { return true; },
             .bind = bind,
             .strided_inputs = 0b10,
             .in_place = {{0, 0}}});
}

}  // namespace floe
