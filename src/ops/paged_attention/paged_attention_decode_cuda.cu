// paged_attention of a few queries over a 2-byte cache, where latency is all that counts. A block takes one
// row, query and head. Its threads form groups of kLanes, a lane for 8 features; group g takes keys g,
// g + kGroups, ..., kKeys of them at a time, so that the loads of kKeys keys and values are in flight
// together while the table is asked for the next. Each group has a softmax of its own (Milakov, Gimelshein:
// "Online normalizer calculation for softmax", 2018); at the end the groups of a warp, then the warps are
// folded. The order of every sum depends on a key's number and the head size alone: not on other rows, the
// size of the cache's blocks or the width of the table.
//
// With kAppend a row's new key and value come from where the product before left them. Every block takes them
// from there, and one block a key head writes them into the caches, where only later runs look for them.
//
// A block of the cache that is not there, or a length beyond the table, gives NaN; nothing is read outside.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/half_types.cuh"
#include "kernel/cuda/online_softmax.cuh"
#include "kernel/cuda/warp_mma.cuh"
#include "ops/paged_attention/paged_attention_cuda.cuh"

namespace floe {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kKeys = 4;

// n / divisor for n < 2^31 by a multiplication: factor = ceil(2^(31 + s) / divisor) with 2^s >= divisor is at
// most 2^s / 2^(31 + s) too large (Granlund, Montgomery: "Division by invariant integers using
// multiplication", 1994).
struct Divider {
  uint32_t factor = 0;
  int shift = 31;

  explicit Divider(uint32_t divisor) {
    while ((uint64_t{1} << (shift - 31)) < divisor) ++shift;
    factor = static_cast<uint32_t>(((uint64_t{1} << shift) + divisor - 1) / divisor);
  }
  __device__ uint32_t operator()(uint32_t n) const {
    return static_cast<uint32_t>(static_cast<uint64_t>(n) * factor >> shift);
  }
};

template <class T>
struct DecodeRun {
  PagedRun<T> paged;
  AppendRun<T> added;
  Divider by_heads, by_queries, by_group, by_block;
  float scale;  // of scores in powers of two
};

template <class T, int kLanes, bool kAppend>
__global__ __launch_bounds__(kThreads) void paged_attention_decode_kernel(
    const __grid_constant__ DecodeRun<T> run) {
  constexpr int kGroups = kThreads / kLanes;
  constexpr uint32_t kRound = kGroups * kKeys;
  __shared__ float4 found[kWarps][2 * kLanes];
  __shared__ float2 states[kWarps];  // top, sum
  const PagedRun<T>& paged = run.paged;
  const PagedShape& s = paged.s;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kLanes;
  const int group = thread / kLanes;
  const int feature = 8 * lane;
  const bool active = feature < s.width;
  const uint32_t at = blockIdx.x;
  const uint32_t row_query = run.by_heads(at);
  const auto row = static_cast<int>(run.by_queries(row_query));
  const int query = static_cast<int>(row_query) - row * s.queries;
  const auto head = static_cast<int>(at - row_query * static_cast<uint32_t>(s.heads));
  const auto key_head = static_cast<int>(run.by_group(static_cast<uint32_t>(head)));
  const auto place_size = static_cast<uint32_t>(s.key_heads * s.width);
  const auto in_place = static_cast<uint32_t>(key_head * s.width + feature);
  const T* q_from = paged.q + row * s.q_batch + query * s.q_row + head * s.q_head + (active ? feature : 0);
  const int32_t* table = paged.table + static_cast<int64_t>(row) * s.table_width;
  const int64_t room = static_cast<int64_t>(s.table_width) * s.block;

  // The cache blocks of the group's keys of the round at `base`. Asks for no more than the table has, but not
  // how long the row is: the first round need not wait for that.
  int cache_block[kKeys];
  const auto look_up = [&](uint32_t base) {
#pragma unroll
    for (int u = 0; u < kKeys; ++u) {
      const uint32_t t = run.by_block(base + static_cast<uint32_t>(group + u * kGroups));
      cache_block[u] = t < static_cast<uint32_t>(s.table_width) ? table[t] : -1;
    }
  };

  let_next_start();
  wait_for_previous();
  const int length = ::max(0, paged.lengths[row]);
  const int position = kAppend ? run.added.positions[row] : 0;
  look_up(0);
  float q[8];
#pragma unroll
  for (int e = 0; e < 8; ++e) q[e] = to_float(q_from[e]);
#pragma unroll
  for (int e = 0; e < 8; ++e) q[e] = active ? q[e] * run.scale : 0.0f;
  const int sees = s.causal ? length - (s.queries - 1 - query) : length;
  const auto seen =
      static_cast<uint32_t>(::max(0LL, ::min(static_cast<long long>(sees), static_cast<long long>(room))));
  const auto store = [&](float x, float y) {
    if (2 * thread >= s.width) return;
    *reinterpret_cast<uint32_t*>(paged.out + static_cast<int64_t>(at) * s.width + 2 * thread) =
        pack_pair<T>(x, y);
  };
  // The place of the new position, where this thread is to write a part of it.
  const bool writes = kAppend && thread < kLanes && active && head == key_head * s.group();
  int new_block = -1;
  if (writes && position >= 0 && position < room)
    new_block = table[run.by_block(static_cast<uint32_t>(position))];
  const T* new_key = run.added.k + row * run.added.k_row + key_head * run.added.k_head + feature;
  const T* new_value = run.added.v + row * run.added.v_row + key_head * run.added.v_head + feature;
  const auto append = [&] {
    if (!writes || static_cast<uint32_t>(new_block) >= static_cast<uint32_t>(s.blocks)) return;
    const auto block = static_cast<uint32_t>(s.block), at_position = static_cast<uint32_t>(position);
    const uint64_t place =
        static_cast<uint64_t>(new_block) * block + (at_position - run.by_block(at_position) * block);
    const uint64_t to = place * place_size + in_place;
    *reinterpret_cast<uint4*>(run.added.k_cache + to) = *reinterpret_cast<const uint4*>(new_key);
    *reinterpret_cast<uint4*>(run.added.v_cache + to) = *reinterpret_cast<const uint4*>(new_value);
  };
  if (seen == 0 || length > room) {
    append();
    const float x = length > room ? NAN : 0.0f;
    return store(x, x);
  }

  RowState state;
  float sums[8] = {};
  for (uint32_t base = 0; base < seen; base += kRound) {
    uint4 keys[kKeys], values[kKeys];
    float scores[kKeys];
#pragma unroll
    for (int u = 0; u < kKeys; ++u) {
      const uint32_t key = base + static_cast<uint32_t>(group + u * kGroups);
      const bool there = static_cast<uint32_t>(cache_block[u]) < static_cast<uint32_t>(s.blocks);
      scores[u] = key >= seen ? -INFINITY : there ? 0.0f : NAN;
      keys[u] = values[u] = make_uint4(0, 0, 0, 0);
      if (scores[u] == 0 && active) {
        const auto block = static_cast<uint32_t>(s.block);
        const uint64_t place =
            static_cast<uint64_t>(cache_block[u]) * block + (key - run.by_block(key) * block);
        const uint64_t from = place * place_size + in_place;
        const bool is_new = kAppend && key == static_cast<uint32_t>(position);
        keys[u] = *reinterpret_cast<const uint4*>(is_new ? new_key : paged.k + from);
        values[u] = *reinterpret_cast<const uint4*>(is_new ? new_value : paged.v + from);
      }
    }
    if (base + kRound < seen) look_up(base + kRound);
    float top = state.top;
#pragma unroll
    for (int u = 0; u < kKeys; ++u) {
      float x[8];
      unpack16<T>(keys[u], x);
      float dot = 0;
#pragma unroll
      for (int e = 0; e < 8; ++e) dot = fmaf(q[e], x[e], dot);
#pragma unroll
      for (int step = kLanes / 2; step > 0; step /= 2) dot += __shfl_xor_sync(0xffffffffu, dot, step);
      // Not a sum: an infinite query times the zeros of a key that is not seen is NaN.
      if (scores[u] == 0) scores[u] = dot;
      top = fmaxf(top, scores[u]);
    }
    const float shift = block_shift(top);
    const float before = exp2_fast(state.top - shift);
    state.top = top;
    state.sum *= before;
#pragma unroll
    for (int e = 0; e < 8; ++e) sums[e] *= before;
#pragma unroll
    for (int u = 0; u < kKeys; ++u) {
      float x[8];
      unpack16<T>(values[u], x);
      const float p = exp2_fast(scores[u] - shift);
      state.sum += p;
#pragma unroll
      for (int e = 0; e < 8; ++e) sums[e] = fmaf(p, x[e], sums[e]);
    }
  }

  append();

  // The groups of a warp, then the warps.
  float top = state.top;
#pragma unroll
  for (int step = 16; step >= kLanes; step /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
  const float factor = exp2_fast(state.top - block_shift(top));
  state.top = top;
  state.sum *= factor;
#pragma unroll
  for (int e = 0; e < 8; ++e) sums[e] *= factor;
#pragma unroll
  for (int step = 16; step >= kLanes; step /= 2) {
    state.sum += __shfl_xor_sync(0xffffffffu, state.sum, step);
#pragma unroll
    for (int e = 0; e < 8; ++e) sums[e] += __shfl_xor_sync(0xffffffffu, sums[e], step);
  }
  const int warp = thread / 32;
  if (thread % 32 < kLanes) {
    found[warp][2 * lane] = make_float4(sums[0], sums[1], sums[2], sums[3]);
    found[warp][2 * lane + 1] = make_float4(sums[4], sums[5], sums[6], sums[7]);
  }
  if (thread % 32 == 0) states[warp] = make_float2(state.top, state.sum);
  __syncthreads();
  if (2 * thread >= s.width) return;
  RowState all;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) all.top = fmaxf(all.top, states[w].x);
  float x = 0, y = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const float here = exp2_fast(states[w].x - block_shift(all.top));
    const float2 pair = reinterpret_cast<const float2*>(found[w])[thread];
    all.sum = fmaf(states[w].y, here, all.sum);
    x = fmaf(pair.x, here, x);
    y = fmaf(pair.y, here, y);
  }
  // The largest score adds 1 to the sum, so it lies where this division's error is two units at most.
  const float last = all.sum == 0 ? 0.0f : __fdividef(1.0f, all.sum);
  store(last == 0 ? 0.0f : x * last, last == 0 ? 0.0f : y * last);
}

}  // namespace

template <class T>
void queue_decode(const PagedRun<T>& run, const AppendRun<T>& added, void* stream) {
  constexpr double kLog2E = 1.4426950408889634;
  const PagedShape& s = run.s;
  const int64_t grid = static_cast<int64_t>(s.rows) * s.queries * s.heads;
  if (grid == 0) return;
  const auto divider = [](int by) { return Divider(static_cast<uint32_t>(by)); };
  const DecodeRun<T> decode{run,
                            added,
                            divider(s.heads),
                            divider(s.queries),
                            divider(s.group()),
                            divider(s.block),
                            static_cast<float>(s.scale * kLog2E)};
  const auto start = [&]<bool kAppend>() {
    auto* kernel = s.width <= 32    ? paged_attention_decode_kernel<T, 4, kAppend>
                   : s.width <= 64  ? paged_attention_decode_kernel<T, 8, kAppend>
                   : s.width <= 128 ? paged_attention_decode_kernel<T, 16, kAppend>
                                    : paged_attention_decode_kernel<T, 32, kAppend>;
    launch(kAppend ? "append_attention_decode" : "paged_attention_decode", kernel,
           {.grid = dim3(static_cast<unsigned>(grid)), .block = dim3(kThreads), .overlap = true}, stream,
           decode);
  };
  if (added.positions != nullptr) return start.template operator()<true>();
  start.template operator()<false>();
}
template void queue_decode(const PagedRun<__nv_bfloat16>& run, const AppendRun<__nv_bfloat16>& added,
                           void* stream);
template void queue_decode(const PagedRun<__half>& run, const AppendRun<__half>& added, void* stream);

}  // namespace floe
