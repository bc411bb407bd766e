// append_attention over 2-byte caches: one launch where paged_attention's decoding kernel takes the sizes
// (paged_attention_decode_cuda.cu); elsewhere the new positions are copied, a thread an element, before the
// kernel that takes them.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/half_types.cuh"
#include "kernel/kernel.h"
#include "ops/paged_attention/paged_attention_cuda.cuh"

namespace floe {
namespace {

constexpr int kThreads = 256;

enum Input { kQ, kK, kV, kKCache, kVCache, kTable, kPositions, kLengths };

// Keys of all rows, then values. What a row's table does not have a place for is left out.
template <class T>
__global__ void __launch_bounds__(kThreads)
    append_kernel(const __grid_constant__ PagedRun<T> run, const __grid_constant__ AppendRun<T> added) {
  let_next_start();
  wait_for_previous();
  const PagedShape& s = run.s;
  int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t keys = int64_t{s.rows} * s.key_heads * s.width;
  const bool is_key = at < keys;
  if (!is_key) at -= keys;
  const int64_t width = is_key ? s.width : s.value_width;
  if (at >= int64_t{s.rows} * s.key_heads * width) return;
  const int64_t feature = at % width;
  at /= width;
  const int64_t head = at % s.key_heads, row = at / s.key_heads;
  const int64_t position = added.positions[row];
  if (position < 0 || position >= int64_t{s.table_width} * s.block) return;
  const int64_t slot = run.table[row * s.table_width + position / s.block];
  if (slot < 0 || slot >= s.blocks) return;
  const int64_t to = ((slot * s.block + position % s.block) * s.key_heads + head) * width + feature;
  if (is_key) {
    added.k_cache[to] = added.k[row * added.k_row + head * added.k_head + feature];
  } else {
    added.v_cache[to] = added.v[row * added.v_row + head * added.v_head + feature];
  }
}

template <class T>
void queue_append(const PagedRun<T>& run, const AppendRun<T>& added, void* stream) {
  const PagedShape& s = run.s;
  const int64_t elements = int64_t{s.rows} * s.key_heads * (int64_t{s.width} + s.value_width);
  launch("append_attention (append)", append_kernel<T>,
         {.grid = dim3(blocks_for(elements, kThreads)), .block = dim3(kThreads), .overlap = true}, stream,
         run, added);
}

template <class T>
BoundKernel bind_append(const KernelCall& call) {
  const PagedShape s = paged_shape(call.inputs[kQ], call.inputs[kKCache], call.inputs[kVCache],
                                   call.inputs[kTable], call.attrs);
  return {0, [s](const KernelRun& to) {
            for (int i = 0; i < 2; ++i) {
              const View& from = to.inputs[kKCache + i];
              if (to.outputs[1 + i].data == from.data || from.size() == 0) continue;
              FLOE_CUDA_CALL(cudaMemcpyAsync(to.outputs[1 + i].data, from.data,
                                             static_cast<size_t>(from.size()) * sizeof(T),
                                             cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(to.stream)));
            }
            AppendRun<T> added;
            added.k = to.inputs[kK].as<const T>();
            added.v = to.inputs[kV].as<const T>();
            added.k_row = to.inputs[kK].strides[0];
            added.k_head = to.inputs[kK].strides[2];
            added.v_row = to.inputs[kV].strides[0];
            added.v_head = to.inputs[kV].strides[2];
            added.k_cache = to.outputs[1].as<T>();
            added.v_cache = to.outputs[2].as<T>();
            added.positions = to.inputs[kPositions].as<const int32_t>();
            PagedRun<T> run{s};
            run.q = to.inputs[kQ].as<const T>();
            run.k = added.k_cache;
            run.v = added.v_cache;
            run.table = to.inputs[kTable].as<const int32_t>();
            run.lengths = to.inputs[kLengths].as<const int32_t>();
            run.out = to.outputs[0].as<T>();
            if (decodes(run, added)) return queue_decode(run, added, to.stream);
            queue_append(run, added, to.stream);
            queue_paged(run, to.stream);
          }};
}

template <class T>
void add_of(DType dtype, KernelTable& table) {
  table.add({.op = "append_attention",
             .device = DeviceKind::cuda,
             .name = "append_attention." + std::string(name_of(dtype)),
             .supports = [dtype](const KernelSignature& s) { return s.inputs[kQ] == dtype; },
             .bind = bind_append<T>,
             .strided_inputs = 0b111,
             .in_place = {{1, kKCache}, {2, kVCache}}});
}

}  // namespace

void add_append_attention_cuda(KernelTable& table) {
  add_of<__nv_bfloat16>(DType::bf16, table);
  add_of<__half>(DType::f16, table);
}

}  // namespace floe
