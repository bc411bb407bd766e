// Many rows on sm_90: a block has 64 rows and 32 or 64 columns of y, and each of its four warpgroups a
// quarter of K for the whole tile, through wgmma. A warpgroup copies its own panels of 64 k and waits for
// nobody; the splits' sums meet in shared memory. A chain of wgmma over K gives the bits of a chain of
// mma.sync over the same groups of 16 (RowLinearCuda.ARowHasTheSameBitsAmongAnyNumberOfRows), so these are
// the sums of the other two kernels.
//
// Resident: with K <= 1024 the block keeps its rows, normed where the call has a norm, and walks over several
// tiles of columns, whose weights come ahead through a ring. Streamed: with a longer K both operands go
// through the ring, and a block has one tile.
//
// A panel is 64 k of some rows as wgmma reads it with a swizzle of 128 bytes: a row is 128 bytes, and its
// unit of 16 bytes u lies at u xor (row mod 8).
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/norm.cuh"
#include "ops/row_linear/row_linear_cuda.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define FLOE_HAS_WGMMA 1
#else
#define FLOE_HAS_WGMMA 0
#endif

namespace floe {
namespace {

constexpr int kGroups = 4;  // warpgroups of a block
constexpr int kThreads = 128 * kGroups;
constexpr int kRows = 64;
constexpr int kPanel = 64;  // elements of K
constexpr int kRowBytes = 128;
constexpr int kXPanel = kRows * kRowBytes;
constexpr int64_t kMostResident = 1024;

// How a normed row is cut: as the norm's own kernel cuts it (with_row_plan), whatever the length.
using NormPlan = RowPlan<8, 32, 4>;
static_assert(kMostNormed == kMostResident && kMostResident <= NormPlan::kThreads * NormPlan::kVector * 4);

template <int kColumnsOf, int kStagesOf, int kSplitsOf>
struct Wide {
  static constexpr int kColumns = kColumnsOf, kStages = kStagesOf, kSplits = kSplitsOf;
  static constexpr bool kResident = kSplits == splits_for(kMostResident);
  static constexpr int kOwn = kSplits / kGroups;  // splits of a warpgroup
  static constexpr int kWPanel = kColumns * kRowBytes;
  static constexpr int kSlot = kWPanel + (kResident ? 0 : kXPanel);
  static constexpr int kRing = kGroups * kStages * kSlot;
  static constexpr int kPitch = kColumns + 8;  // floats: four rows of sums fill the banks in turn
  static constexpr int kSums = kSplits * kRows * kPitch * static_cast<int>(sizeof(float));
  static constexpr int kPairs = kColumns / 2;                  // of neighbours in a row of the tile
  static constexpr int kElements = kRows * kPairs / kThreads;  // pairs of a thread
};

// Where things lie in shared memory. The sums lie over rows and ring where the block has one tile.
struct WideMemory {
  int scales, ring, sums, bytes;
};
template <class S>
WideMemory memory_of(const RowLinearCall& call, RowNorm norm, bool one_tile) {
  WideMemory m{};
  const int rows = S::kResident ? static_cast<int>(call.k) / kPanel * kXPanel : 0;
  m.ring = rows;
  m.scales = m.ring + S::kRing;
  const int scales = norm == RowNorm::none ? 0 : 2 * static_cast<int>(call.k * sizeof(float));
  m.sums = one_tile ? 0 : m.scales + scales;
  m.bytes = one_tile ? std::max(m.scales + scales, S::kSums) : m.sums + S::kSums;
  return m;
}

struct WideCall {
  RowLinearCall linear;
  WideMemory memory;
  int64_t column_tiles, blocks_of_row;  // blocks that share a tile of rows
};

__device__ inline int panel_offset(int row, int unit) { return row * kRowBytes + (unit ^ (row & 7)) * 16; }

// Rows row0 .. row0 + kCount - 1 of a matrix [rows, k], 64 elements from k0, by a warpgroup; zeros past the
// last row.
template <int kCount>
__device__ inline void copy_panel(unsigned char* to, const __nv_bfloat16* from, int64_t row0, int64_t rows,
                                  int64_t k, int64_t k0) {
  const int thread = static_cast<int>(threadIdx.x) % 128;
#pragma unroll
  for (int i = 0; i < kCount * 8 / 128; ++i) {
    const int r = (thread + i * 128) / 8, unit = thread % 8;
    const bool inside = row0 + r < rows;
    copy16_async(to + panel_offset(r, unit), inside ? from + (row0 + r) * k + k0 + unit * 8 : from, inside);
  }
}

__device__ inline void group_barrier(int group) {
  asm volatile("bar.sync %0, 128;\n" ::"r"(group + 1) : "memory");
}
// What this thread wrote to shared memory, for the tensor cores that read it after a barrier.
__device__ inline void show_to_async_proxy() { asm volatile("fence.proxy.async;\n" ::: "memory"); }

#if FLOE_HAS_WGMMA
// K-major, swizzled by 128 bytes: groups of eight rows are 1,024 bytes apart (PTX ISA, matrix descriptor).
__device__ inline uint64_t panel_descriptor(const void* panel) {
  return (shared_address(panel) & 0x3ffff) >> 4 | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}

__device__ inline void multiply_16(float (&c)[16], uint64_t x, uint64_t w) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
      "%11, %12, %13, %14, %15}, %16, %17, 1, 1, 1, 0, 0;\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
        "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15])
      : "l"(x), "l"(w));
}
__device__ inline void multiply_16(float (&c)[32], uint64_t x, uint64_t w) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
      "%11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "
      "%31}, %32, %33, 1, 1, 1, 0, 0;\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
        "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
        "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]),
        "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]),
        "+f"(c[30]), "+f"(c[31])
      : "l"(x), "l"(w));
}
// sums += the panels' product, and all reading of them is done.
template <int kCount>
__device__ inline void multiply_panel(float (&sums)[kCount], const void* x_panel, const void* w_panel) {
  const uint64_t x = panel_descriptor(x_panel), w = panel_descriptor(w_panel);
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#pragma unroll
  for (int step = 0; step < kPanel / 16; ++step) multiply_16(sums, x + step * 2, w + step * 2);
  asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n" ::: "memory");
#pragma unroll
  for (float& sum : sums) asm volatile("" : "+f"(sum)::"memory");  // not before the wait
}
#endif

// The block's rows of x into its panels, normed; a warp has every sixteenth row.
template <RowNorm kNorm>
__device__ inline void norm_rows(const RowLinearCall& call, int64_t row0, const float* scales, bool keeps,
                                 unsigned char* panels) {
  constexpr int kWarps = kThreads / 32, kRowsOfWarp = kRows / kWarps;
  constexpr bool kCentred = kNorm == RowNorm::layer_norm;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const auto place = [&](int r, int64_t column) {
    const int k = static_cast<int>(column);
    return panels + k / kPanel * kXPanel + panel_offset(r, k % kPanel / 8);
  };
  Row<__nv_bfloat16, NormPlan> x[kRowsOfWarp];  // all on their way at once
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const int64_t row = row0 + warp + i * kWarps;
    if (row < call.m) x[i].load(call.x + row * call.k, call.k);
  }
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const int r = warp + i * kWarps;
    if (row0 + r >= call.m) {
      for (int64_t k = lane * 8; k < call.k; k += 32 * 8) {
        *reinterpret_cast<uint4*>(place(r, k)) = make_uint4(0, 0, 0, 0);
      }
      continue;
    }
    normalize_row<kCentred>(
        x[i], call.k, call.eps,
        [&](int64_t column, float(&gamma)[8], float(&beta)[8]) {
          load_floats(scales + column, gamma);
          if constexpr (kCentred) load_floats(scales + call.k + column, beta);
        },
        [&](int64_t column, const float(&v)[8]) {
          Packed<__nv_bfloat16, 8> packed;
          packed.pack(v);
          packed.store(reinterpret_cast<__nv_bfloat16*>(place(r, column)));
          if (keeps) packed.store(call.normed + (row0 + r) * call.k + column);
        });
  }
}

template <class S, RowNorm kNorm>
__global__ void __launch_bounds__(kThreads) wide_kernel(const WideCall wide) {
#if FLOE_HAS_WGMMA
  extern __shared__ __align__(1024) unsigned char wide_shared[];
  const RowLinearCall& call = wide.linear;
  const int group = static_cast<int>(threadIdx.x) / 128;
  const int64_t row0 = blockIdx.x % call.row_tiles * kRows;
  const int64_t first_tile = blockIdx.x / call.row_tiles;
  const int panels = static_cast<int>(call.k) / (S::kSplits * kPanel);  // of a split
  const int panels_of_tile = S::kOwn * panels;                          // a warpgroup's
  const int tiles =
      static_cast<int>((wide.column_tiles - first_tile + wide.blocks_of_row - 1) / wide.blocks_of_row);
  const int steps = tiles * panels_of_tile;
  unsigned char* ring = wide_shared + wide.memory.ring + group * S::kStages * S::kSlot;

  const auto column_of = [&](int step) {
    return (first_tile + step / panels_of_tile * wide.blocks_of_row) * S::kColumns;
  };
  const auto panel_of = [&](int step) { return group * panels_of_tile + step % panels_of_tile; };
  const auto copy_w = [&](int step) {
    copy_panel<S::kColumns>(ring + step % S::kStages * S::kSlot, call.w, column_of(step), call.n, call.k,
                            panel_of(step) * kPanel);
  };
  const auto copy_x = [&](int step) {
    copy_panel<kRows>(ring + step % S::kStages * S::kSlot + S::kWPanel, call.x, row0, call.m, call.k,
                      panel_of(step) * kPanel);
  };

  let_next_start();
  if (!call.early) wait_for_previous();
  // Groups of copies: kStages of weights, kStages of x (resident: all of it in the first); then one a step.
#pragma unroll
  for (int step = 0; step < S::kStages; ++step) {
    if (step < steps) copy_w(step);
    commit_copies();
  }
  auto* scales = reinterpret_cast<float*>(wide_shared + wide.memory.scales);
  if constexpr (kNorm != RowNorm::none) {
    for (int k = static_cast<int>(threadIdx.x) * 4; k < call.k; k += kThreads * 4) {
      *reinterpret_cast<float4*>(scales + k) = *reinterpret_cast<const float4*>(call.gamma + k);
      if constexpr (kNorm == RowNorm::layer_norm)
        *reinterpret_cast<float4*>(scales + call.k + k) = *reinterpret_cast<const float4*>(call.beta + k);
    }
    __syncthreads();
  }
  if (call.early) wait_for_previous();
  if constexpr (kNorm != RowNorm::none) {
    norm_rows<kNorm>(call, row0, scales, call.normed != nullptr && first_tile == 0, wide_shared);
    show_to_async_proxy();
    __syncthreads();
  } else if constexpr (S::kResident) {
    for (int step = 0; step < panels_of_tile; ++step) {
      copy_panel<kRows>(wide_shared + panel_of(step) * kXPanel, call.x, row0, call.m, call.k,
                        panel_of(step) * kPanel);
    }
    commit_copies();
  } else {
#pragma unroll
    for (int step = 0; step < S::kStages; ++step) {
      if (step < steps) copy_x(step);
      commit_copies();
    }
  }

  auto* all_sums = reinterpret_cast<float*>(wide_shared + wide.memory.sums);
  int step = 0;
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    const int64_t column0 = (first_tile + tile * wide.blocks_of_row) * S::kColumns;
    // What is added to the sums, asked for before they are there.
    float2 bias[S::kElements], residual[S::kElements];
#pragma unroll
    for (int e = 0; e < S::kElements; ++e) {
      const int pair = static_cast<int>(threadIdx.x) + e * kThreads;
      const int64_t row = row0 + pair / S::kPairs, column = column0 + pair % S::kPairs * 2;
      const bool inside = row < call.m && column < call.n;
      bias[e] = load_two(inside ? call.bias : nullptr, call.bias_f32, column);
      residual[e] = load_two(inside ? call.residual : nullptr, call.residual_f32, row * call.n + column);
    }
    float sums[S::kOwn][S::kColumns / 2] = {};
#pragma unroll
    for (int own = 0; own < S::kOwn; ++own) {
#pragma unroll 1
      for (int panel = 0; panel < panels; ++panel, ++step) {
        if (step == 0 && S::kResident) {
          wait_copies<0>();
        } else {
          wait_copies<S::kStages - 1>();
        }
        show_to_async_proxy();
        group_barrier(group);
        const unsigned char* slot = ring + step % S::kStages * S::kSlot;
        const unsigned char* x = S::kResident ? wide_shared + panel_of(step) * kXPanel : slot + S::kWPanel;
        multiply_panel(sums[own], x, slot);
        group_barrier(group);  // the slot is free
        if (step + S::kStages < steps) {
          copy_w(step + S::kStages);
          if constexpr (!S::kResident) copy_x(step + S::kStages);
        }
        commit_copies();
      }
    }
    __syncthreads();  // the last tile's sums have been read; with one tile, the panels are done with
    const int warp = static_cast<int>(threadIdx.x) % 128 / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int own = 0; own < S::kOwn; ++own) {
      const int row = (group * S::kOwn + own) * kRows + warp * 16 + lane / 4;
      float* to = all_sums + row * S::kPitch + lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < S::kColumns / 8; ++j) {
        const float* of = sums[own] + j * 4;
        *reinterpret_cast<float2*>(to + j * 8) = make_float2(of[0], of[1]);
        *reinterpret_cast<float2*>(to + 8 * S::kPitch + j * 8) = make_float2(of[2], of[3]);
      }
    }
    __syncthreads();
#pragma unroll
    for (int e = 0; e < S::kElements; ++e) {
      const int pair = static_cast<int>(threadIdx.x) + e * kThreads;
      const int r = pair / S::kPairs, c = pair % S::kPairs * 2;
      if (row0 + r >= call.m || column0 + c >= call.n) continue;
      float2 total = make_float2(0, 0);
#pragma unroll
      for (int split = 0; split < S::kSplits; ++split) {
        const float2 sum = *reinterpret_cast<const float2*>(all_sums + (split * kRows + r) * S::kPitch + c);
        total.x += sum.x;
        total.y += sum.y;
      }
      store_two(call, (row0 + r) * call.n + column0 + c, finish(call, total.x, bias[e].x, residual[e].x),
                finish(call, total.y, bias[e].y, residual[e].y));
    }
  }
#endif
}

int processors() {
  int device = 0, count = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
             "cudaDeviceGetAttribute");
  return count;
}

template <class S, RowNorm kNorm>
void start(WideCall wide, void* stream) {
  launch("row_linear", wide_kernel<S, kNorm>,
         {.grid = dim3(static_cast<unsigned>(wide.linear.row_tiles * wide.blocks_of_row)),
          .block = dim3(kThreads),
          .shared_bytes = static_cast<size_t>(wide.memory.bytes),
          .overlap = true},
         stream, wide);
}

template <class S>
void start_tiles(const RowLinearCall& call, RowNorm norm, void* stream) {
  WideCall wide{};
  wide.linear = call;
  wide.linear.row_tiles = (call.m + kRows - 1) / kRows;
  wide.column_tiles = (call.n + S::kColumns - 1) / S::kColumns;
  wide.blocks_of_row = wide.column_tiles;
  // With more tiles than processors a block that keeps its rows takes several; many row tiles balance
  // themselves.
  static const int64_t kProcessors = processors();
  if (S::kResident && wide.linear.row_tiles * wide.column_tiles > kProcessors) {
    const int64_t blocks = wide.linear.row_tiles > kProcessors ? 4 : kProcessors / wide.linear.row_tiles;
    wide.blocks_of_row = std::min(wide.column_tiles, blocks);
  }
  wide.memory = memory_of<S>(call, norm, wide.blocks_of_row == wide.column_tiles);
  if constexpr (S::kResident) {
    if (norm == RowNorm::layer_norm) return start<S, RowNorm::layer_norm>(wide, stream);
    if (norm == RowNorm::rms_norm) return start<S, RowNorm::rms_norm>(wide, stream);
  }
  start<S, RowNorm::none>(wide, stream);
}

}  // namespace

// 64 columns where that leaves most processors something to do. A block that walks with more than 512 of K
// has no room for them.
RowTile wide_tile(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kEnoughBlocks = 96;
  const int64_t blocks = ((m + kRows - 1) / kRows) * ((n + 63) / 64);
  const bool has_room = k <= 512 || k > kMostResident;
  return {kRows, blocks >= kEnoughBlocks && has_room ? 64 : 32};
}

bool wide_serves(int64_t n, int64_t k) {
  if (n % 2 != 0 || k <= 0 || k % (kPanel * splits_for(k)) != 0) return false;
  static const bool kCan = device_can_overlap();  // sm_90
  return kCan;
}

void start_wide(const RowLinearCall& call, RowTile tile, RowNorm norm, void* stream) {
  if (splits_for(call.k) == 8) {
    if (tile.columns == 64) return start_tiles<Wide<64, 3, 8>>(call, norm, stream);
    return start_tiles<Wide<32, 3, 8>>(call, norm, stream);
  }
  if (tile.columns == 64) return start_tiles<Wide<64, 2, 4>>(call, norm, stream);
  start_tiles<Wide<32, 2, 4>>(call, norm, stream);
}

}  // namespace floe
