// paged_attention on the GPU. A block takes a row, a key head and up to eight of the queries that read it;
// its warps take blocks of 64 keys in turn, each on its own: a warp gathers its keys and values through the
// table into shared memory, all copies in flight at once, and attends; then the block folds what the warps
// found in the keys' order. In f32 the bits are those of attention, however the cache is cut into blocks and
// whatever lies beside a row (kernel/cuda/online_softmax.cuh).
//
// A few queries over a 2-byte cache have a kernel of their own (paged_attention_decode_cuda.cu).
//
// A block of the cache that is not there, or a length beyond the table, gives NaN; nothing is read outside.
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/half_types.cuh"
#include "kernel/cuda/online_softmax.cuh"
#include "kernel/cuda/warp_mma.cuh"
#include "kernel/kernel.h"
#include "ops/paged_attention/paged_attention_cuda.cuh"

namespace floe {
namespace {

constexpr int kMaxWarps = 4;
// Three blocks of an H100's SM: while one waits for its keys, others compute.
constexpr size_t kUsualShared = 76 * 1024;
constexpr size_t kMostShared = 160 * 1024;  // what sm_80 has

// Units of 16 bytes between rows of a staged tile: odd, so that eight rows start on different banks.
__host__ __device__ constexpr int row_units(int features, int size) { return features * size / 16 | 1; }
__host__ __device__ constexpr int round_up4(int n) { return (n + 3) / 4 * 4; }

// Shared memory of a block, in bytes from its start. First what 16-byte accesses touch.
template <class T, int kSlots>
struct PagedMemory {
  size_t keys, values, entries;       // of warp 0
  size_t queries, found, running;     // [kSlots][width], [warps][kSlots][value_width], [kSlots][value_width]
  size_t probabilities;               // [warps][kSlots][kBlockKeys]
  size_t found_state, running_state;  // RowState
  size_t key_bytes, value_bytes;      // of a warp
  size_t total;
  __host__ __device__ explicit PagedMemory(const PagedShape& s) {
    key_bytes = s.staged ? static_cast<size_t>(kBlockKeys) * row_units(s.width, sizeof(T)) * 16 : 0;
    value_bytes = s.staged ? static_cast<size_t>(kBlockKeys) * row_units(s.value_width, sizeof(T)) * 16 : 0;
    const size_t slot = sizeof(float) * static_cast<size_t>(round_up4(s.value_width));
    const size_t warps = static_cast<size_t>(s.warps);
    keys = 0;
    values = keys + warps * key_bytes;
    queries = values + warps * value_bytes;
    probabilities = queries + kSlots * sizeof(float) * static_cast<size_t>(round_up4(s.width));
    found = probabilities + warps * kSlots * kBlockKeys * sizeof(float);
    running = found + warps * kSlots * slot;
    entries = running + kSlots * slot;
    found_state = entries + warps * kBlockKeys * sizeof(int64_t);
    running_state = found_state + warps * kSlots * sizeof(RowState);
    total = running_state + kSlots * sizeof(RowState);
  }
};

template <class T>
__device__ T* at_byte(size_t offset) {
  return reinterpret_cast<T*>(dynamic_shared<unsigned char>() + offset);
}

// Copies the rows `entries` names, `features` long, each lane group a row at a time.
template <class T>
__device__ void gather_rows(const T* from, int features, const int64_t* entries, int rows,
                            unsigned char* to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int units = features * static_cast<int>(sizeof(T)) / 16;
  const int pitch = row_units(features, sizeof(T)) * 16;
  int lanes = 1;  // for a row: a power of two
  while (lanes < units && lanes < 32) lanes *= 2;
  for (int r = lane / lanes; r < rows; r += 32 / lanes) {
    const int64_t entry = entries[r];
    const T* row = from + (entry < 0 ? 0 : entry) * features;
    for (int unit = lane % lanes; unit < units; unit += lanes) {
      copy16_async(to + r * pitch + unit * 16, reinterpret_cast<const unsigned char*>(row) + unit * 16,
                   entry >= 0);
    }
  }
}

// scores[slot][n] = query of the slot times key lane + 32 n, one chain over the features.
template <class T, int kSlots>
__device__ void multiply_staged(const float* queries, const unsigned char* keys, int width,
                                float (&scores)[kSlots][2]) {
  constexpr int kVector = 16 / sizeof(T);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int pitch = row_units(width, sizeof(T)) * 16;
  const int query_pitch = round_up4(width);
  for (int d = 0; d < width; d += kVector) {
    float x[2][kVector];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      unpack16<T>(*reinterpret_cast<const uint4*>(keys + (lane + 32 * n) * pitch + d * sizeof(T)), x[n]);
    }
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
#pragma unroll
      for (int e = 0; e < kVector; e += 4) {
        const float4 y = *reinterpret_cast<const float4*>(queries + slot * query_pitch + d + e);
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          float sum = fmaf(y.x, x[n][e], scores[slot][n]);
          sum = fmaf(y.y, x[n][e + 1], sum);
          sum = fmaf(y.z, x[n][e + 2], sum);
          scores[slot][n] = fmaf(y.w, x[n][e + 3], sum);
        }
      }
    }
  }
}

// The same from the cache itself.
template <class T, int kSlots>
__device__ void multiply_in_place(const float* queries, const T* keys, const int64_t* entries, int rows,
                                  int width, float (&scores)[kSlots][2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int query_pitch = round_up4(width);
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int j = lane + 32 * n;
    if (j >= rows || entries[j] < 0) continue;
    const T* row = keys + entries[j] * width;
    for (int d = 0; d < width; ++d) {
      const float x = to_float(row[d]);
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
        scores[slot][n] = fmaf(queries[slot * query_pitch + d], x, scores[slot][n]);
      }
    }
  }
}

template <class T, int kSlots, bool kStaged>
__global__ __launch_bounds__(32 * kMaxWarps, 1) void paged_attention_kernel(const PagedRun<T> run) {
  const PagedShape& s = run.s;
  const PagedMemory<T, kSlots> memory(s);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int threads = s.warps * 32;
  const int key_head = static_cast<int>(blockIdx.x) % s.key_heads;
  const int tile = static_cast<int>(blockIdx.x) / s.key_heads % s.tiles;
  const int row = static_cast<int>(blockIdx.x) / s.key_heads / s.tiles;
  const int group = s.group();
  const int slots = ::min(kSlots, s.queries * group - tile * kSlots);
  const int64_t room = static_cast<int64_t>(s.table_width) * s.block;
  let_next_start();
  wait_for_previous();
  const int length = run.lengths[row];
  const int keys =
      static_cast<int>(::min(static_cast<long long>(room), static_cast<long long>(::max(0, length))));

  float* queries = at_byte<float>(memory.queries);
  float* probabilities = at_byte<float>(memory.probabilities) + warp * kSlots * kBlockKeys;
  int64_t* entries = at_byte<int64_t>(memory.entries) + warp * kBlockKeys;
  unsigned char* staged_keys = at_byte<unsigned char>(memory.keys + warp * memory.key_bytes);
  unsigned char* staged_values = at_byte<unsigned char>(memory.values + warp * memory.value_bytes);
  const int slot_floats = round_up4(s.value_width);
  float* found = at_byte<float>(memory.found);
  float* running = at_byte<float>(memory.running);
  RowState* found_state = at_byte<RowState>(memory.found_state);
  RowState* running_state = at_byte<RowState>(memory.running_state);
  const int query_pitch = round_up4(s.width);

  // How many keys each slot sees.
  int seen[kSlots];
  int most = 0;
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) {
    const int query = (tile * kSlots + slot) / group;
    const int sees = s.causal ? length - s.queries + query + 1 : length;
    seen[slot] = slot < slots ? ::max(0, ::min(keys, sees)) : 0;
    most = ::max(most, seen[slot]);
  }
  const int blocks = (most + kBlockKeys - 1) / kBlockKeys;

  // The cache blocks of keys lane and lane + 32 of the warp's next block of keys.
  int cache_block[2];
  const auto look_up = [&](int at) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int j = at * kBlockKeys + lane + 32 * n;
      cache_block[n] = j < most ? run.table[static_cast<int64_t>(row) * s.table_width + j / s.block] : -1;
    }
  };
  look_up(warp);
  for (int i = static_cast<int>(threadIdx.x); i < kSlots * query_pitch; i += threads) {
    const int slot = i / query_pitch, d = i % query_pitch;
    const int reader = tile * kSlots + slot;
    float x = 0;
    if (slot < slots && d < s.width) {
      x = to_float(run.q[row * s.q_batch + reader / group * s.q_row +
                         (key_head * group + reader % group) * s.q_head + d]);
    }
    queries[i] = x;
  }
  for (int i = static_cast<int>(threadIdx.x); i < kSlots * slot_floats; i += threads) running[i] = 0;
  if (threadIdx.x < kSlots) running_state[threadIdx.x] = RowState{};
  __syncthreads();

  for (int first = 0; first < blocks; first += s.warps) {
    const int at = first + warp;
    if (at < blocks) {
      const int k0 = at * kBlockKeys;
      const int here = ::min(kBlockKeys, most - k0);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const int j = k0 + lane + 32 * n;
        const bool there = cache_block[n] >= 0 && cache_block[n] < s.blocks;
        entries[lane + 32 * n] =
            there ? (static_cast<int64_t>(cache_block[n]) * s.block + j % s.block) * s.key_heads + key_head
                  : -1;
      }
      __syncwarp();
      if constexpr (kStaged) {
        gather_rows(run.k, s.width, entries, here, staged_keys);
        commit_copies();
        gather_rows(run.v, s.value_width, entries, here, staged_values);
        commit_copies();
      }
      look_up(at + s.warps);
      float scores[kSlots][2] = {};
      if constexpr (kStaged) {
        wait_copies<1>();
        __syncwarp();
        multiply_staged<T, kSlots>(queries, staged_keys, s.width, scores);
      } else {
        multiply_in_place<T, kSlots>(queries, run.k, entries, here, s.width, scores);
      }
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const int j = lane + 32 * n;
          const float score = entries[j] < 0 ? NAN : scores[slot][n] * s.scale;
          scores[slot][n] = k0 + j < seen[slot] ? score : -INFINITY;
        }
        RowState block;
        block.top = fmaxf(scores[slot][0], scores[slot][1]);
#pragma unroll
        for (int step = 16; step > 0; step /= 2) {
          block.top = fmaxf(block.top, __shfl_xor_sync(0xffffffffu, block.top, step));
        }
        const float shift = block_shift(block.top);
        const float p[2] = {expf(scores[slot][0] - shift), expf(scores[slot][1] - shift)};
        probabilities[slot * kBlockKeys + lane] = p[0];
        probabilities[slot * kBlockKeys + lane + 32] = p[1];
        block.sum = p[0] + p[1];
#pragma unroll
        for (int step = 16; step > 0; step /= 2) block.sum += __shfl_xor_sync(0xffffffffu, block.sum, step);
        if (lane == 0) found_state[warp * kSlots + slot] = block;
      }
      if constexpr (kStaged) wait_copies<0>();
      __syncwarp();
      // A lane holds neighbouring features, and walks the keys.
      constexpr int kPair = kStaged ? 2 : 1;
      for (int d = kPair * lane; d < s.value_width; d += kPair * 32) {
        float sums[kSlots][kPair] = {};
        for (int j = 0; j < here; ++j) {
          float x[kPair];
          if constexpr (kStaged) {
            const T* value = reinterpret_cast<const T*>(
                staged_values + j * (row_units(s.value_width, sizeof(T)) * 16) + d * sizeof(T));
            if constexpr (sizeof(T) == 4) {
              const float2 pair = *reinterpret_cast<const float2*>(value);
              x[0] = pair.x;
              x[1] = pair.y;
            } else {
              const uint32_t bits = *reinterpret_cast<const uint32_t*>(value);
              const T* pair = reinterpret_cast<const T*>(&bits);
              x[0] = to_float(pair[0]);
              x[1] = to_float(pair[1]);
            }
          } else {
            x[0] = entries[j] < 0 ? 0.0f : to_float(run.v[entries[j] * s.value_width + d]);
          }
#pragma unroll
          for (int slot = 0; slot < kSlots; ++slot) {
            // A key that a query does not see must not reach it even as 0 * NaN.
            if (k0 + j >= seen[slot]) continue;
            const float p = probabilities[slot * kBlockKeys + j];
#pragma unroll
            for (int e = 0; e < kPair; ++e) sums[slot][e] = fmaf(p, x[e], sums[slot][e]);
          }
        }
#pragma unroll
        for (int slot = 0; slot < kSlots; ++slot) {
#pragma unroll
          for (int e = 0; e < kPair; ++e) found[(warp * kSlots + slot) * slot_floats + d + e] = sums[slot][e];
        }
      }
    }
    __syncthreads();
    const int warps = ::min(s.warps, blocks - first);
    for (int i = static_cast<int>(threadIdx.x); i < slots * s.value_width; i += threads) {
      const int slot = i / s.value_width, d = i % s.value_width;
      RowState state = running_state[slot];
      float sum = running[slot * slot_floats + d];
      for (int w = 0; w < warps; ++w) {
        const FoldFactors factors = fold(&state, found_state[w * kSlots + slot]);
        sum = fold_output(factors, sum, found[(w * kSlots + slot) * slot_floats + d]);
      }
      running[slot * slot_floats + d] = sum;
    }
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < slots) {
      RowState state = running_state[threadIdx.x];
      for (int w = 0; w < warps; ++w) fold(&state, found_state[w * kSlots + threadIdx.x]);
      running_state[threadIdx.x] = state;
    }
    __syncthreads();
  }
  for (int i = static_cast<int>(threadIdx.x); i < slots * s.value_width; i += threads) {
    const int slot = i / s.value_width, d = i % s.value_width;
    const int reader = tile * kSlots + slot;
    const float factor = last_factor(running_state[slot], 1.0f);
    float x = factor == 0 ? 0.0f : running[slot * slot_floats + d] * factor;
    if (length > room) x = NAN;
    const int64_t query = (static_cast<int64_t>(row) * s.queries + reader / group) * s.heads;
    run.out[(query + key_head * group + reader % group) * s.value_width + d] = from_float<T>(x);
  }
}

template <class T, int kSlots>
void queue(PagedRun<T> run, void* stream) {
  PagedShape& s = run.s;
  s.tiles = (s.readers() + kSlots - 1) / kSlots;
  const auto whole = [](const void* p, int features) {
    return reinterpret_cast<uintptr_t>(p) % 16 == 0 && features * sizeof(T) % 16 == 0;
  };
  s.staged = s.width > 0 && whole(run.k, s.width) && whole(run.v, s.value_width);
  s.warps = 1;
  s.staged = s.staged && PagedMemory<T, kSlots>(s).total <= kMostShared;
  // As many warps as there can be blocks of keys, and as the shared memory holds. Bits do not depend on it.
  const int64_t most = (static_cast<int64_t>(s.table_width) * s.block + kBlockKeys - 1) / kBlockKeys;
  while (s.warps < kMaxWarps && s.warps < most) {
    PagedShape wider = s;
    ++wider.warps;
    if (PagedMemory<T, kSlots>(wider).total > kUsualShared) break;
    s = wider;
  }
  const int64_t grid = static_cast<int64_t>(s.rows) * s.key_heads * s.tiles;
  launch("paged_attention",
         s.staged ? paged_attention_kernel<T, kSlots, true> : paged_attention_kernel<T, kSlots, false>,
         {.grid = dim3(static_cast<unsigned>(grid)),
          .block = dim3(static_cast<unsigned>(32 * s.warps)),
          .shared_bytes = PagedMemory<T, kSlots>(s).total,
          .overlap = true},
         stream, run);
}

template <class T>
BoundKernel bind_paged(const KernelCall& call) {
  const PagedShape s =
      paged_shape(call.inputs[0], call.inputs[1], call.inputs[2], call.inputs[3], call.attrs);
  BoundKernel bound;
  bound.run = [s](const KernelRun& to) {
    PagedRun<T> run{s};
    run.q = to.inputs[0].as<const T>();
    run.k = to.inputs[1].as<const T>();
    run.v = to.inputs[2].as<const T>();
    run.table = to.inputs[3].as<const int32_t>();
    run.lengths = to.inputs[4].as<const int32_t>();
    run.out = to.outputs[0].as<T>();
    queue_paged(run, to.stream);
  };
  return bound;
}

template <class T>
void add_of(DType dtype, KernelTable& table) {
  Kernel kernel;
  kernel.op = "paged_attention";
  kernel.device = DeviceKind::cuda;
  kernel.name = "paged_attention." + std::string(name_of(dtype));
  kernel.supports = [dtype](const KernelSignature& signature) {
    return signature.inputs[0] == dtype && signature.inputs[1] == dtype && signature.inputs[2] == dtype;
  };
  kernel.bind = bind_paged<T>;
  kernel.strided_inputs = 0b1;
  table.add(std::move(kernel));
}

}  // namespace

template <class T>
void queue_paged(const PagedRun<T>& run, void* stream) {
  if constexpr (sizeof(T) == 2) {
    if (decodes(run)) return queue_decode(run, {}, stream);
  }
  if (run.s.readers() == 1) return queue<T, 1>(run, stream);
  if (run.s.readers() <= 4) return queue<T, 4>(run, stream);
  queue<T, 8>(run, stream);
}
template void queue_paged(const PagedRun<__nv_bfloat16>& run, void* stream);
template void queue_paged(const PagedRun<__half>& run, void* stream);

void add_paged_attention_cuda(KernelTable& table) {
  add_of<float>(DType::f32, table);
  add_of<__nv_bfloat16>(DType::bf16, table);
  add_of<__half>(DType::f16, table);
  add_append_attention_cuda(table);
}

}  // namespace floe
