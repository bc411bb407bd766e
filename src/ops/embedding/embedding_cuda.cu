// Rows by id, and their gradient in three launches without atomics on floats:
//
//   sort     positions by id, keeping their order. Block b owns kIdsOfBlock ids and reads all positions:
//            it counts how many ids lie below its own (where its part of the result begins) and how often
//            each of its own occurs in each warp's stretch of positions, then writes the positions. No block
//            waits for another, for the price of reading the ids (few bytes, from the L2 cache) once a block.
//   chunks   a run of one id is cut into chunks of `chunk` positions; the rows of each whole chunk are
//            added, one thread for each few columns, so that a frequent token does not hold up the rest.
//            Chunks begin at least `chunk` slots apart in the sorted list: slot / chunk numbers them.
//   rows     each id's chunks are added in order, then what is left of its run; 0 for an id without any.
//
// An id's order of additions depends on its own positions and on n alone. An id outside the table gives a
// row of NaN forward and adds to nothing backward: a GPU's kernel cannot refuse it. Positions are counted in
// 32 bits.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"
#include "kernel/kernel.h"
#include "ops/embedding/embedding_kernel.h"

namespace floe {
namespace {

constexpr int kWarpsOfBlock = 8;
constexpr int64_t kNothing = -1;

// ---- forward ----

template <class Word>
__device__ Word ones();  // a NaN in every floating type
template <>
__device__ uint16_t ones<uint16_t>() {
  return 0xffffu;
}
template <>
__device__ uint32_t ones<uint32_t>() {
  return 0xffffffffu;
}
template <>
__device__ uint2 ones<uint2>() {
  return make_uint2(0xffffffffu, 0xffffffffu);
}
template <>
__device__ uint4 ones<uint4>() {
  return make_uint4(0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu);
}

// A warp a row of `words` words.
template <class Word>
__global__ void __launch_bounds__(kWarpsOfBlock * 32)
    take_rows_kernel(const Word* table, const int32_t* ids, Word* y, int64_t n, int64_t rows, int64_t words) {
  let_next_start();
  wait_for_previous();
  const int64_t at = int64_t{blockIdx.x} * kWarpsOfBlock + threadIdx.x / 32;
  if (at >= n) return;
  const int64_t id = ids[at];
  const bool inside = id >= 0 && id < rows;
  const Word* from = table + (inside ? id : 0) * words;
  Word* to = y + at * words;
#pragma unroll 4
  for (int64_t k = threadIdx.x % 32; k < words; k += 32) to[k] = inside ? from[k] : ones<Word>();
}

template <class Word>
BoundKernel bind_take_rows(int64_t n, int64_t rows, int64_t words) {
  return {
      0, [=](const KernelRun& run) {
        if (words == 0) return;
        launch(
            "embedding", take_rows_kernel<Word>,
            {.grid = dim3(blocks_for(n, kWarpsOfBlock)), .block = dim3(kWarpsOfBlock * 32), .overlap = true},
            run.stream, static_cast<const Word*>(run.inputs[0].data), run.inputs[1].as<int32_t>(),
            static_cast<Word*>(run.outputs[0].data), n, rows, words);
      }};
}

BoundKernel bind_embedding(const KernelCall& call) {
  const int64_t rows = call.inputs[0].dim(0), n = call.inputs[1].size();
  const int64_t bytes = call.inputs[0].dim(1) * static_cast<int64_t>(size_of(call.inputs[0].dtype));
  if (bytes % 16 == 0) return bind_take_rows<uint4>(n, rows, bytes / 16);
  if (bytes % 8 == 0) return bind_take_rows<uint2>(n, rows, bytes / 8);
  if (bytes % 4 == 0) return bind_take_rows<uint32_t>(n, rows, bytes / 4);
  return bind_take_rows<uint16_t>(n, rows, bytes / 2);
}

// ---- gradient: sort ----

constexpr int kIdsOfBlock = 256;
constexpr int kSortWarps = 32;
constexpr int kSortThreads = kSortWarps * 32;
constexpr int kIdsAhead = 4;  // loads of a lane in flight
static_assert(kIdsOfBlock <= kSortThreads, "one thread sums the counts of one id");

// ids [n] -> order [n]: the positions sorted by id; begins [rows + 1]: where each id's run begins in it.
__global__ void __launch_bounds__(kSortThreads)
    sort_ids_kernel(const int32_t* ids, uint32_t* order, uint32_t* begins, int64_t n, int64_t rows) {
  __shared__ uint32_t counts[kSortWarps][kIdsOfBlock];  // of a warp's stretch; then where its next one goes
  __shared__ uint32_t below_of_warp[kSortWarps];
  __shared__ uint32_t totals_of_warp[kIdsOfBlock / 32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t first_id = int64_t{blockIdx.x} * kIdsOfBlock;
  constexpr int64_t kRound = 32 * kIdsAhead;
  const int64_t stretch = ((n + kSortWarps - 1) / kSortWarps + kRound - 1) / kRound * kRound;
  const int64_t begin = warp * stretch, end = ::min(n, begin + stretch);
  for (int i = lane; i < kIdsOfBlock; i += 32) counts[warp][i] = 0;
  __syncwarp();

  // key(id): 0..kIdsOfBlock-1 for the block's own, -1 below them, kIdsOfBlock above or outside the table.
  const auto key_of = [&](int64_t position) -> int {
    if (position >= end) return kIdsOfBlock;
    const int64_t id = ids[position];
    if (id < 0 || id >= rows) return kIdsOfBlock;
    if (id < first_id) return -1;
    return id - first_id < kIdsOfBlock ? static_cast<int>(id - first_id) : kIdsOfBlock;
  };
  uint32_t below = 0;
  for (int64_t at = begin; at < end; at += kRound) {
    int keys[kIdsAhead];
#pragma unroll
    for (int k = 0; k < kIdsAhead; ++k) keys[k] = key_of(at + k * 32 + lane);
#pragma unroll
    for (int k = 0; k < kIdsAhead; ++k) {
      below += keys[k] < 0;
      if (keys[k] >= 0 && keys[k] < kIdsOfBlock) atomicAdd(&counts[warp][keys[k]], 1u);
    }
  }
  below = __reduce_add_sync(0xffffffffu, below);
  if (lane == 0) below_of_warp[warp] = below;
  __syncthreads();

  // Thread i, below kIdsOfBlock: the block's id number i.
  const int i = static_cast<int>(threadIdx.x);
  uint32_t total = 0, inclusive = 0;
  if (i < kIdsOfBlock) {  // whole warps
    for (int w = 0; w < kSortWarps; ++w) total += counts[w][i];
    inclusive = total;
    for (int apart = 1; apart < 32; apart *= 2) {
      const uint32_t other = __shfl_up_sync(0xffffffffu, inclusive, apart);
      if (lane >= apart) inclusive += other;
    }
    if (lane == 31) totals_of_warp[warp] = inclusive;
  }
  __syncthreads();
  if (i < kIdsOfBlock) {
    uint32_t next = inclusive - total;
    for (int w = 0; w < kSortWarps; ++w) next += below_of_warp[w];
    for (int w = 0; w < warp; ++w) next += totals_of_warp[w];
    if (first_id + i < rows) begins[first_id + i] = next;
    if (first_id + i == rows - 1) begins[rows] = next + total;
    for (int w = 0; w < kSortWarps; ++w) {
      const uint32_t count = counts[w][i];
      counts[w][i] = next;
      next += count;
    }
  }
  __syncthreads();

  for (int64_t at = begin; at < end; at += kRound) {
    int keys[kIdsAhead];
#pragma unroll
    for (int k = 0; k < kIdsAhead; ++k) keys[k] = key_of(at + k * 32 + lane);
#pragma unroll
    for (int k = 0; k < kIdsAhead; ++k) {
      const bool own = keys[k] >= 0 && keys[k] < kIdsOfBlock;
      if (!__any_sync(0xffffffffu, own)) continue;
      const uint32_t same = __match_any_sync(0xffffffffu, keys[k]);
      const uint32_t before = same & ((1u << lane) - 1);
      if (own) order[counts[warp][keys[k]] + __popc(before)] = static_cast<uint32_t>(at + k * 32 + lane);
      __syncwarp();
      if (own && before == 0) counts[warp][keys[k]] += __popc(same);
      __syncwarp();
    }
  }
}

// ---- gradient: sums ----

struct GradCall {
  const int32_t* ids;
  const uint32_t *order, *begins;
  float* chunks;  // [n / chunk + 1, d]
  int64_t n, rows, d;
  int64_t chunk;  // a power of two
};

// Adds rows order[from .. to) of dy, in order, to `sum`, for the columns from `column` on.
template <class T, int kVector>
__device__ inline void add_rows(const T* dy, const uint32_t* order, int64_t from, int64_t to, int64_t d,
                                int64_t column, float (&sum)[kVector]) {
  constexpr int kAhead = 8;  // rows in flight
  for (; from + kAhead <= to; from += kAhead) {
    Packed<T, kVector> rows[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) rows[k].load(dy + int64_t{order[from + k]} * d + column);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      float values[kVector];
      rows[k].unpack(values);
#pragma unroll
      for (int i = 0; i < kVector; ++i) sum[i] += values[i];
    }
  }
  for (; from < to; ++from) {
    float values[kVector];
    load_floats(dy + int64_t{order[from]} * d + column, values);
#pragma unroll
    for (int i = 0; i < kVector; ++i) sum[i] += values[i];
  }
}

// Block b: the whole chunk that begins among slots b * chunk .. + chunk - 1 of the sorted list, if any.
template <class T, int kVector>
__global__ void __launch_bounds__(128) sum_chunks_kernel(GradCall call, const T* dy) {
  const int64_t cell = blockIdx.x;
  const int64_t sorted = call.begins[call.rows];  // without ids outside the table
  int64_t start = kNothing;
  for (int64_t at = cell * call.chunk; at < (cell + 1) * call.chunk; at += 32) {  // every warp looks
    const int64_t slot = at + threadIdx.x % 32;
    bool here = false;
    if (slot < sorted) {
      const int64_t id = call.ids[call.order[slot]];
      const int64_t first = call.begins[id];
      here = ((slot - first) & (call.chunk - 1)) == 0 && slot + call.chunk <= int64_t{call.begins[id + 1]};
    }
    const uint32_t found = __ballot_sync(0xffffffffu, here);
    if (found != 0) {
      start = at + __ffs(static_cast<int>(found)) - 1;
      break;
    }
  }
  if (start == kNothing) return;
  for (int64_t column = int64_t{threadIdx.x} * kVector; column < call.d; column += blockDim.x * kVector) {
    float sum[kVector] = {};
    add_rows(dy, call.order, start, start + call.chunk, call.d, column, sum);
    store_floats(call.chunks + cell * call.d + column, sum);
  }
}

// blockDim (threads of a row, rows): one id each.
template <class T, int kVector>
__global__ void __launch_bounds__(256) sum_ids_kernel(GradCall call, const T* dy, T* out) {
  const int64_t id = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (id >= call.rows) return;
  const int64_t begin = call.begins[id], end = call.begins[id + 1];
  for (int64_t column = int64_t{threadIdx.x} * kVector; column < call.d; column += blockDim.x * kVector) {
    float sum[kVector] = {};
    const int64_t whole = (end - begin) / call.chunk;
    const float* chunk = call.chunks + begin / call.chunk * call.d + column;
#pragma unroll 8
    for (int64_t k = 0; k < whole; ++k) {
      float values[kVector];
      load_floats(chunk + k * call.d, values);
#pragma unroll
      for (int i = 0; i < kVector; ++i) sum[i] += values[i];
    }
    add_rows(dy, call.order, begin + whole * call.chunk, end, call.d, column, sum);
    store_floats(out + id * call.d + column, sum);
  }
}

// At least 32, and so long that an id with every position has at most some thousands of chunks.
int64_t chunk_for(int64_t n) {
  int64_t chunk = 32;
  while (n / chunk > 2048) chunk *= 2;
  return chunk;
}

template <class T, int kVector>
BoundKernel bind_grad_of(GradCall args) {
  const int64_t cells = (args.n + args.chunk - 1) / args.chunk;
  const auto padded = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  const int64_t order_bytes = padded(args.n * 4), begins_bytes = padded((args.rows + 1) * 4);
  unsigned threads = 1;  // of a row: a power of two
  while (threads < 128 && threads * kVector < args.d) threads *= 2;
  const unsigned rows_of_block = 256 / threads;
  return {static_cast<size_t>(order_bytes + begins_bytes + cells * args.d * 4), [=](const KernelRun& run) {
            if (args.rows == 0 || args.d == 0) return;
            char* memory = static_cast<char*>(run.workspace);
            auto* order = reinterpret_cast<uint32_t*>(memory);
            auto* begins = reinterpret_cast<uint32_t*>(memory + order_bytes);
            GradCall now = args;
            now.ids = run.inputs[0].as<int32_t>();
            now.order = order;
            now.begins = begins;
            now.chunks = reinterpret_cast<float*>(memory + order_bytes + begins_bytes);
            const T* dy = run.inputs[1].as<T>();
            launch("embedding_grad (sort)", sort_ids_kernel,
                   {.grid = dim3(blocks_for(now.rows, kIdsOfBlock)), .block = dim3(kSortThreads)}, run.stream,
                   now.ids, order, begins, now.n, now.rows);
            launch("embedding_grad (chunks)", sum_chunks_kernel<T, kVector>,
                   {.grid = dim3(static_cast<unsigned>(cells)), .block = dim3(threads < 32 ? 32 : threads)},
                   run.stream, now, dy);
            launch("embedding_grad (rows)", sum_ids_kernel<T, kVector>,
                   {.grid = dim3(blocks_for(now.rows, rows_of_block)), .block = dim3(threads, rows_of_block)},
                   run.stream, now, dy, run.outputs[0].as<T>());
          }};
}

template <class T>
BoundKernel bind_embedding_grad(const KernelCall& call) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  GradCall args{};
  args.n = call.inputs[0].size();
  args.rows = call.outputs[0].dim(0);
  args.d = call.outputs[0].dim(1);
  args.chunk = chunk_for(args.n);
  return args.d % kVector == 0 ? bind_grad_of<T, kVector>(args) : bind_grad_of<T, 1>(args);
}

template <class T>
void add_grad(KernelTable& table, const char* name, DType dtype) {
  table.add({.op = "embedding_grad",
             .device = DeviceKind::cuda,
             .name = name,
             .supports = [dtype](const KernelSignature& s) { return s.inputs[1] == dtype; },
             .bind = bind_embedding_grad<T>});
}

}  // namespace

void add_embedding_cuda(KernelTable& table) {
  table.add({.op = "embedding",
             .device = DeviceKind::cuda,
             .name = "embedding.any",
             .supports = [](const KernelSignature&) { return true; },
             .bind = bind_embedding});
  add_grad<float>(table, "embedding_grad.f32", DType::f32);
  add_grad<__nv_bfloat16>(table, "embedding_grad.bf16", DType::bf16);
  add_grad<__half>(table, "embedding_grad.f16", DType::f16);
  add_embedding_sum_cuda(table);
}

}  // namespace floe
