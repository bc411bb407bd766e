// Many rows: a block has a large tile of y, its warps parts of it, and chunks of both operands go through
// shared memory, several on their way at once. The splits of K come one after the other, each from 0, and are
// added up in registers: the same sums as in row_linear_split_cuda.cu.
#include "device/cuda/launch.cuh"
#include "ops/row_linear/row_linear_cuda.cuh"

namespace floe {
namespace {

constexpr int kStages = 4;               // chunks in shared memory
constexpr int kUnits = kChunk * 2 / 16;  // of 16 bytes, in a row of a chunk

// A block of kWarpRows x kWarpColumns warps, each 16 kM rows and 8 kN columns of y.
template <int kWarpRowsOf, int kWarpColumnsOf, int kMOf, int kNOf>
struct Staged {
  static constexpr int kWarpRows = kWarpRowsOf, kWarpColumns = kWarpColumnsOf, kM = kMOf, kN = kNOf;
  static constexpr int kThreads = 32 * kWarpRows * kWarpColumns;
  static constexpr int kRows = kWarpRows * 16 * kM, kColumns = kWarpColumns * 8 * kN;
  static constexpr int kStage = (kRows + kColumns) * kUnits;  // units: rows of A, then of B
  // The sums meet where the chunks were: rows padded so that four of them fill the banks in turn.
  static constexpr int kPitch = kColumns + 8;
  static constexpr size_t kTile = size_t{kRows} * kPitch * sizeof(float);
  static constexpr size_t kChunks = size_t{kStages} * kStage * 16;
  static constexpr size_t kShared = kTile > kChunks ? kTile : kChunks;
  static_assert(kStage % kThreads == 0, "every thread copies as many units");
};

// A chunk's row is 64 bytes; in the upper two of four rows the units of its halves change places, so that
// half a warp, which reads 8 bytes a lane from four rows, finds all banks.
__device__ inline int unit_slot(int row, int unit) { return row * kUnits + (unit ^ (row & 2)); }

// What lane `quad` holds of a row's chunk (multiply_chunk).
__device__ inline uint4 load_fours(const uint4* stage, int row, int quad) {
  const auto four = [&](int unit) {
    return reinterpret_cast<const uint2*>(stage + unit_slot(row, unit))[quad % 2];
  };
  const uint2 first = four(quad / 2), second = four(2 + quad / 2);
  return make_uint4(first.x, first.y, second.x, second.y);
}

template <class S>
__device__ inline void copy_chunk(const RowLinearCall& call, int64_t row0, int64_t column0, int64_t chunk,
                                  uint4* to) {
#pragma unroll
  for (int i = 0; i < S::kStage / S::kThreads; ++i) {
    const int unit = static_cast<int>(threadIdx.x) + i * S::kThreads;
    const int r = unit / kUnits;
    const int64_t k = chunk * kChunk + unit % kUnits * 8;
    const bool of_x = r < S::kRows;
    const int64_t row = of_x ? row0 + r : column0 + r - S::kRows;
    const bool inside = k < call.k && row < (of_x ? call.m : call.n);
    const __nv_bfloat16* from = of_x ? call.x : call.w;
    copy16_async(to + unit_slot(r, unit % kUnits), inside ? from + row * call.k + k : from, inside);
  }
}

// The block's tile of y out of shared memory, two neighbours a thread: few instructions, run many times.
// Written out for each element that a thread holds, the same code is fetched for longer than it runs. Columns
// are even, and so is n.
template <class S>
__device__ inline void store_tile(const RowLinearCall& call, const float* tile, int64_t row0,
                                  int64_t column0) {
  constexpr int kPairs = S::kColumns / 2;
#pragma unroll 2
  for (int pair = static_cast<int>(threadIdx.x); pair < S::kRows * kPairs; pair += S::kThreads) {
    const int r = pair / kPairs, c = pair % kPairs * 2;
    const int64_t row = row0 + r, column = column0 + c;
    if (row >= call.m || column >= call.n) continue;
    const int64_t to = row * call.n + column;
    const float2 bias = load_two(call.bias, call.bias_f32, column);
    const float2 residual = load_two(call.residual, call.residual_f32, to);
    const float2 sum = *reinterpret_cast<const float2*>(tile + r * S::kPitch + c);
    const float first = finish(call, sum.x, bias.x, residual.x);
    const float second = finish(call, sum.y, bias.y, residual.y);
    store_two(call, to, first, second);
  }
}

template <class S>
__global__ void __launch_bounds__(S::kThreads) staged_kernel(const RowLinearCall call, int splits) {
  constexpr int kM = S::kM, kN = S::kN;
  uint4* shared = dynamic_shared<uint4>();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int group = lane / 4, quad = lane % 4;
  const int64_t row0 = blockIdx.x % call.row_tiles * S::kRows;
  const int64_t column0 = blockIdx.x / call.row_tiles * S::kColumns;
  const int warp_row = warp / S::kWarpColumns * 16 * kM, warp_column = warp % S::kWarpColumns * 8 * kN;
  const int chunks = chunks_of(call.k);
  let_next_start();
  wait_for_previous();
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < chunks) copy_chunk<S>(call, row0, column0, stage, shared + stage * S::kStage);
    commit_copies();
  }
  float sums[kM][kN][4] = {}, totals[kM][kN][4] = {};
  int split = 0;
  int end = split_end(chunks, split, splits);
  const auto next_split = [&](int done) {  // past splits of nothing
    while (split + 1 < splits && end == done) end = split_end(chunks, ++split, splits);
  };
  next_split(0);
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; ++chunk) {
    wait_copies<kStages - 2>();
    __syncthreads();  // this chunk is there for all, and all have left the one that is overwritten next
    const int ahead = chunk + kStages - 1;
    if (ahead < chunks) copy_chunk<S>(call, row0, column0, ahead, shared + ahead % kStages * S::kStage);
    commit_copies();
    const uint4* stage = shared + chunk % kStages * S::kStage;
    uint4 a[kM][2], b[kN];
#pragma unroll
    for (int i = 0; i < kM; ++i) {
      a[i][0] = load_fours(stage, warp_row + i * 16 + group, quad);
      a[i][1] = load_fours(stage, warp_row + i * 16 + 8 + group, quad);
    }
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      b[j] = load_fours(stage, S::kRows + warp_column + j * 8 + group, quad);
    }
    multiply_chunk<kM, kN>(sums, a, b);
    if (chunk + 1 != end) continue;
#pragma unroll
    for (int i = 0; i < kM; ++i) {
#pragma unroll
      for (int j = 0; j < kN; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          totals[i][j][e] += sums[i][j][e];
          sums[i][j][e] = 0;
        }
      }
    }
    next_split(chunk + 1);
  }
  wait_copies<0>();
  __syncthreads();  // the chunks are done with
  auto* tile = reinterpret_cast<float*>(shared);
#pragma unroll
  for (int i = 0; i < kM; ++i) {
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      float* at = tile + (warp_row + i * 16 + group) * S::kPitch + warp_column + j * 8 + quad * 2;
      *reinterpret_cast<float2*>(at) = make_float2(totals[i][j][0], totals[i][j][1]);
      *reinterpret_cast<float2*>(at + 8 * S::kPitch) = make_float2(totals[i][j][2], totals[i][j][3]);
    }
  }
  __syncthreads();
  store_tile<S>(call, tile, row0, column0);
}

template <class S>
void start(RowLinearCall call, void* stream) {
  call.row_tiles = (call.m + S::kRows - 1) / S::kRows;
  const int64_t blocks = call.row_tiles * ((call.n + S::kColumns - 1) / S::kColumns);
  launch("row_linear", staged_kernel<S>,
         {.grid = dim3(static_cast<unsigned>(blocks)),
          .block = dim3(S::kThreads),
          .shared_bytes = S::kShared,
          .overlap = true},
         stream, call, splits_for(call.k));
}

}  // namespace

void start_staged(const RowLinearCall& call, RowTile tile, void* stream) {
  if (tile.rows == 128) return start<Staged<2, 4, 4, 4>>(call, stream);
  if (tile.columns == 128) return start<Staged<2, 4, 2, 4>>(call, stream);
  start<Staged<2, 2, 2, 4>>(call, stream);
}

}  // namespace floe
