// Copies new keys or values to the cache slots that each row's table names, a thread a word; of a pair, half
// of the grid each. A position outside its table and a table entry outside the cache are left out, as -1 is:
// a GPU's kernel cannot refuse them.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 256;

// A cache and what is added to it.
template <class Word>
struct Copy {
  const Word* from;
  Word* cache;
  int64_t row_stride, time_stride, head_stride;  // words
};

template <class Word>
struct AppendCall {
  Copy<Word> copies[2];
  const int32_t *table, *positions;
  int64_t rows, times, heads, words;  // of what is added; words of a head
  int64_t blocks, block, table_width;
};

template <class Word>
__global__ void __launch_bounds__(kThreads) append_kernel(const __grid_constant__ AppendCall<Word> call) {
  let_next_start();
  wait_for_previous();
  const Copy<Word>& copy = call.copies[blockIdx.y];
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
  copy.cache[((slot * call.block + position % call.block) * call.heads + head) * call.words + word] =
      copy.from[row * copy.row_stride + time * copy.time_stride + head * copy.head_stride + word];
}

// kCopies caches, each with what is added to it after it; then the table and the positions.
template <int kCopies>
BoundKernel bind(const KernelCall& call) {
  const View cache = call.inputs[0], added = call.inputs[1];
  const int64_t table_width = call.inputs[2 * kCopies].dims[1];
  const auto size = static_cast<int64_t>(size_of(cache.dtype));
  const int64_t head_bytes = cache.dims[3] * size;
  return {
      0, [=](const KernelRun& run) {
        // May everything be moved in words of so many bytes?
        const auto fits = [&](int64_t bytes) {
          bool all = head_bytes % bytes == 0;
          for (int i = 0; i < kCopies; ++i) {
            const View& from = run.inputs[2 * i + 1];
            for (int d = 0; d < 3; ++d) all = all && from.strides[d] * size % bytes == 0;
            const auto addresses =
                reinterpret_cast<uintptr_t>(from.data) | reinterpret_cast<uintptr_t>(run.outputs[i].data);
            all = all && addresses % static_cast<uintptr_t>(bytes) == 0;
          }
          return all;
        };
        const auto queue = [&]<class Word>(Word) {
          constexpr auto kBytes = static_cast<int64_t>(sizeof(Word));
          AppendCall<Word> now{.table = run.inputs[2 * kCopies].as<int32_t>(),
                               .positions = run.inputs[2 * kCopies + 1].as<int32_t>(),
                               .rows = added.dims[0],
                               .times = added.dims[1],
                               .heads = added.dims[2],
                               .words = head_bytes / kBytes,
                               .blocks = cache.dims[0],
                               .block = cache.dims[1],
                               .table_width = table_width};
          for (int i = 0; i < kCopies; ++i) {
            const View& from = run.inputs[2 * i + 1];
            now.copies[i] = {.from = static_cast<const Word*>(from.data),
                             .cache = static_cast<Word*>(run.outputs[i].data),
                             .row_stride = from.strides[0] * size / kBytes,
                             .time_stride = from.strides[1] * size / kBytes,
                             .head_stride = from.strides[2] * size / kBytes};
          }
          launch("cache_append", append_kernel<Word>,
                 {.grid = dim3(blocks_for(now.rows * now.times * now.heads * now.words, kThreads), kCopies),
                  .block = dim3(kThreads),
                  .overlap = true},
                 run.stream, now);
        };
        for (int i = 0; i < kCopies; ++i) {
          if (run.outputs[i].data == run.inputs[2 * i].data || cache.size() == 0) continue;
          FLOE_CUDA_CALL(cudaMemcpyAsync(run.outputs[i].data, run.inputs[2 * i].data,
                                         static_cast<size_t>(cache.size() * size), cudaMemcpyDeviceToDevice,
                                         static_cast<cudaStream_t>(run.stream)));
        }
        if (fits(16)) return queue(uint4());
        if (fits(8)) return queue(uint2());
        if (fits(4)) return queue(uint32_t());
        if (fits(2)) return queue(uint16_t());
        queue(uint8_t());
      }};
}

}  // namespace

void add_cache_append_cuda(KernelTable& table) {
  const auto any = [](const KernelSignature&) { return true; };
  table.add({.op = "cache_append",
             .device = DeviceKind::cuda,
             .name = "cache_append",
             .supports = any,
             .bind = bind<1>,
             .strided_inputs = 0b10,
             .in_place = {{0, 0}}});
  table.add({.op = "cache_append_pair",
             .device = DeviceKind::cuda,
             .name = "cache_append_pair",
             .supports = any,
             .bind = bind<2>,
             .strided_inputs = 0b1010,
             .in_place = {{0, 0}, {1, 2}}});
}

}  // namespace floe
