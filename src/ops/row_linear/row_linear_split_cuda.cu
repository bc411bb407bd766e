// Few rows: a block has a small tile of y, and each of its warps one split of K for the whole tile. Fragments
// come straight from global memory, several chunks in flight; the warps' sums meet in shared memory. The
// first weights are asked for before the kernel waits for its predecessor, and so are the norm's.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/norm.cuh"
#include "ops/row_linear/row_linear_cuda.cuh"

namespace floe {
namespace {

// How a normed row is cut: as the norm's own kernel cuts it (with_row_plan), whatever the length.
using NormPlan = RowPlan<8, 32, 4>;
static_assert(kMostNormed <= NormPlan::kThreads * NormPlan::kVector * NormPlan::kChunks,
              "a warp must hold a row that is normed inside");

// What lane `quad` holds of the chunk that begins at k (multiply_chunk); zeros for a row or a chunk that is
// not there, and past the end where K is no multiple of a chunk.
template <bool kWhole>
__device__ inline uint4 load_fours(const __nv_bfloat16* row, int64_t k, int quad, int64_t end) {
  if (row == nullptr || k >= end) return make_uint4(0, 0, 0, 0);
  if constexpr (kWhole) {
    const uint2* from = reinterpret_cast<const uint2*>(row + k) + quad;
    const uint2 first = from[0], second = from[4];
    return make_uint4(first.x, first.y, second.x, second.y);
  } else {
    const auto* bits = reinterpret_cast<const uint16_t*>(row);
    const auto two = [&](int64_t i) -> uint32_t {
      const uint32_t low = i < end ? bits[i] : 0, high = i + 1 < end ? bits[i + 1] : 0;
      return low | high << 16;
    };
    const int64_t first = k + quad * 4, second = first + 16;
    return make_uint4(two(first), two(first + 2), two(second), two(second + 2));
  }
}

// Shared memory: the warps' sums, then the normed rows, then gamma and beta. Sums are padded so that the
// eight rows of a fragment start on different banks, and rows so that four of them, 32 bytes each, fill the
// banks.
template <int kM, int kN, int kSplits>
struct SplitMemory {
  static constexpr int kSumPitch = kN == 1 ? 8 : 8 * kN + 8;
  static constexpr int kSums = kSplits * 16 * kM * kSumPitch;  // floats
  static __host__ __device__ int row_pitch(int64_t k) {        // elements
    return static_cast<int>((k + 63) / 64 * 64 + 16);
  }
  static __host__ __device__ size_t row_bytes(int64_t k) {
    return 16 * static_cast<size_t>(row_pitch(k)) * sizeof(__nv_bfloat16);
  }
  static size_t bytes(int64_t k, RowNorm norm) {
    size_t all = kSums * sizeof(float);
    if (norm != RowNorm::none) all += row_bytes(k) + 2 * static_cast<size_t>(k) * sizeof(float);
    return all;
  }
};

template <int kM, int kN, int kSplits, RowNorm kNorm, bool kWhole>
__global__ void __launch_bounds__(32 * kSplits) split_kernel(const RowLinearCall call) {
  using Memory = SplitMemory<kM, kN, kSplits>;
  constexpr int kThreads = 32 * kSplits;
  constexpr int kRows = 16 * kM, kColumns = 8 * kN;
  constexpr int kDepth = kN == 1 ? 8 : 4;  // chunks in flight
  constexpr int kElements = (kRows * kColumns + kThreads - 1) / kThreads;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int group = lane / 4, quad = lane % 4;
  const int64_t row0 = blockIdx.x % call.row_tiles * kRows;
  const int64_t column0 = blockIdx.x / call.row_tiles * kColumns;
  float* sums_of_warps = dynamic_shared<float>();
  auto* normed = reinterpret_cast<__nv_bfloat16*>(sums_of_warps + Memory::kSums);
  const int pitch = Memory::row_pitch(call.k);

  let_next_start();
  if (!call.early) wait_for_previous();
  const int64_t chunks = chunks_of(call.k);
  const int64_t begin = split_end(chunks, warp - 1, kSplits), end = split_end(chunks, warp, kSplits);
  uint4 b[kDepth][kN];
  const auto load_weights = [&](int64_t first) {
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      const int64_t column = column0 + j * 8 + group;
      const __nv_bfloat16* row = column < call.n ? call.w + column * call.k : nullptr;
#pragma unroll
      for (int c = 0; c < kDepth; ++c) {
        b[c][j] = load_fours<kWhole>(row, (first + c) * kChunk, quad, first + c < end ? call.k : 0);
      }
    }
  };
  load_weights(begin);
  // What this thread will add to its elements of y, asked for before it is needed.
  float bias[kElements], residual[kElements];
#pragma unroll
  for (int e = 0; e < kElements; ++e) {
    const int64_t column = column0 + (static_cast<int>(threadIdx.x) + e * kThreads) % kColumns;
    bias[e] = column < call.n ? bias_of(call, column) : 0.0f;
  }
  if constexpr (kNorm != RowNorm::none) {
    auto* scales = reinterpret_cast<float*>(reinterpret_cast<char*>(normed) + Memory::row_bytes(call.k));
    for (int k = static_cast<int>(threadIdx.x) * 4; k < call.k; k += kThreads * 4) {
      *reinterpret_cast<float4*>(scales + k) = *reinterpret_cast<const float4*>(call.gamma + k);
      if constexpr (kNorm == RowNorm::layer_norm)
        *reinterpret_cast<float4*>(scales + call.k + k) = *reinterpret_cast<const float4*>(call.beta + k);
    }
    __syncthreads();
  }
  if (call.early) wait_for_previous();
#pragma unroll
  for (int e = 0; e < kElements; ++e) {
    const int at = static_cast<int>(threadIdx.x) + e * kThreads;
    const int64_t row = row0 + at / kColumns, column = column0 + at % kColumns;
    const bool inside = at < kRows * kColumns && row < call.m && column < call.n;
    residual[e] = inside ? residual_of(call, row, column) : 0.0f;
  }
  if constexpr (kNorm != RowNorm::none) {
    constexpr bool kCentred = kNorm == RowNorm::layer_norm;
    const auto* scales =
        reinterpret_cast<const float*>(reinterpret_cast<char*>(normed) + Memory::row_bytes(call.k));
    const bool keeps = call.normed != nullptr && column0 == 0;
#pragma unroll 1
    for (int r = warp; r < kRows && row0 + r < call.m; r += kSplits) {
      Row<__nv_bfloat16, NormPlan> x;
      x.load(call.x + (row0 + r) * call.k, call.k);
      normalize_row<kCentred>(
          x, call.k, call.eps,
          [&](int64_t column, float(&gamma)[8], float(&beta)[8]) {
            load_floats(scales + column, gamma);
            if constexpr (kCentred) load_floats(scales + call.k + column, beta);
          },
          [&](int64_t column, const float(&v)[8]) {
            Packed<__nv_bfloat16, 8> packed;
            packed.pack(v);
            packed.store(normed + r * pitch + column);
            if (keeps) packed.store(call.normed + (row0 + r) * call.k + column);
          });
    }
    __syncthreads();
  }

  float sums[kM][kN][4] = {};
  for (int64_t first = begin; first < end; first += kDepth) {
    if (first != begin) load_weights(first);
    uint4 a[kDepth][kM][2];
#pragma unroll
    for (int i = 0; i < kM; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = i * 16 + half * 8 + group;
        const __nv_bfloat16* from =
            kNorm != RowNorm::none ? normed + r * pitch : call.x + (row0 + r) * call.k;
        const __nv_bfloat16* row = row0 + r < call.m ? from : nullptr;
#pragma unroll
        for (int c = 0; c < kDepth; ++c) {
          a[c][i][half] = load_fours<kWhole>(row, (first + c) * kChunk, quad, first + c < end ? call.k : 0);
        }
      }
    }
#pragma unroll
    for (int c = 0; c < kDepth; ++c) {
      if (first + c < end) multiply_chunk<kM, kN>(sums, a[c], b[c]);
    }
  }

#pragma unroll
  for (int i = 0; i < kM; ++i) {
#pragma unroll
    for (int j = 0; j < kN; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = i * 16 + half * 8 + group;
        *reinterpret_cast<float2*>(sums_of_warps + (warp * kRows + r) * Memory::kSumPitch + j * 8 +
                                   quad * 2) = make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int e = 0; e < kElements; ++e) {
    const int at = static_cast<int>(threadIdx.x) + e * kThreads;
    const int r = at / kColumns, column = at % kColumns;
    if (at >= kRows * kColumns || row0 + r >= call.m || column0 + column >= call.n) continue;
    float total = 0;
#pragma unroll
    for (int s = 0; s < kSplits; ++s) total += sums_of_warps[(s * kRows + r) * Memory::kSumPitch + column];
    const float value = finish(call, total, bias[e], residual[e]);
    const int64_t to = (row0 + r) * call.n + column0 + column;
    if (call.y_f32) {
      static_cast<float*>(call.y)[to] = value;
    } else {
      static_cast<__nv_bfloat16*>(call.y)[to] = from_float<__nv_bfloat16>(value);
    }
  }
}

template <int kM, int kN, int kSplits, RowNorm kNorm, bool kWhole>
void start(RowLinearCall call, void* stream) {
  call.row_tiles = (call.m + 16 * kM - 1) / (16 * kM);
  const int64_t blocks = call.row_tiles * ((call.n + 8 * kN - 1) / (8 * kN));
  launch("row_linear", split_kernel<kM, kN, kSplits, kNorm, kWhole>,
         {.grid = dim3(static_cast<unsigned>(blocks)),
          .block = dim3(32 * kSplits),
          .shared_bytes = SplitMemory<kM, kN, kSplits>::bytes(call.k, kNorm),
          .overlap = true},
         stream, call);
}

template <int kM, int kN>
void start_splits(const RowLinearCall& call, void* stream) {
  if (splits_for(call.k) == 4) return start<kM, kN, 4, RowNorm::none, true>(call, stream);
  start<kM, kN, 8, RowNorm::none, true>(call, stream);
}

template <int kN>
void start_row(const RowLinearCall& call, RowNorm norm, void* stream) {
  constexpr int kSplits = splits_for(kMostNormed);
  if (norm == RowNorm::layer_norm) return start<1, kN, kSplits, RowNorm::layer_norm, true>(call, stream);
  if (norm == RowNorm::rms_norm) return start<1, kN, kSplits, RowNorm::rms_norm, true>(call, stream);
  start_splits<1, kN>(call, stream);
}

}  // namespace

void start_split(const RowLinearCall& call, RowTile tile, RowNorm norm, void* stream) {
  if (call.k % kChunk != 0) {
    if (splits_for(call.k) == 4) return start<1, 2, 4, RowNorm::none, false>(call, stream);
    return start<1, 2, 8, RowNorm::none, false>(call, stream);
  }
  if (tile.rows == 32) return start_splits<2, 4>(call, stream);
  if (tile.columns == 8) return start_row<1>(call, norm, stream);
  if (tile.columns == 16) return start_row<2>(call, norm, stream);
  start_row<4>(call, norm, stream);
}

}  // namespace floe
