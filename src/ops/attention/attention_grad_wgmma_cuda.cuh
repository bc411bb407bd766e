// The gradient of attention on Hopper's tensor cores: what its kernels share. attention_grad_wgmma_cuda.cu
// has the method.
#pragma once
#include "kernel/cuda/mbarrier.cuh"
#include "kernel/cuda/tensor_map.h"
#include "ops/attention/attention_cuda.cuh"
#include "ops/attention/attention_grad_order_kernel.h"

namespace floe {

// Tiles of head sizes up to kD, and where they lie in shared memory. Tiles are panels of 64 features: rows of
// 128 bytes, swizzled as the copy engine and the tensor cores do it.
template <int kD>
struct GradTile {
  static constexpr int kQueries = kD == 64 ? 128 : 64;  // of a step
  static constexpr int kKeys = 128;                     // of a block: 64 for each of two warpgroups
  static constexpr int kPanels = kD / 64;
  static constexpr int kThreads = 384;  // a warpgroup that moves data, two that compute
  static constexpr int kMoveRegisters = 24, kComputeRegisters = 240;
  static_assert(kMoveRegisters + 2 * kComputeRegisters <= 3 * registers_at_start(kThreads));
  static constexpr uint32_t kKeyBytes = kKeys * kD * 2;
  static constexpr uint32_t kQueryBytes = kQueries * kD * 2;
  static constexpr uint32_t kRowBytes = 2 * kQueries * 4;  // lse and delta of a step's queries
  static constexpr uint32_t kDqBytes = kQueries * kD * 4;

  static constexpr uint32_t kAtK = 0;
  static constexpr uint32_t kAtV = kAtK + kKeyBytes;
  static constexpr uint32_t kAtQ = kAtV + kKeyBytes;           // two stages
  static constexpr uint32_t kAtDout = kAtQ + 2 * kQueryBytes;  // two stages
  static constexpr uint32_t kAtDs = kAtDout + 2 * kQueryBytes;
  static constexpr uint32_t kAtDq = kAtDs + kQueries * kKeys * 2;
  static constexpr uint32_t kAtRows = kAtDq + kDqBytes;  // two stages
  static constexpr uint32_t kAtBarriers = kAtRows + 2 * kRowBytes;
  static constexpr uint32_t kBytes = kAtBarriers + 128 + 1024;  // the start is rounded up to 1024

  // The part of dq in shared memory, and a slot: 16 bytes of thread t's accumulators of 8 columns `group` are
  // unit group * 256 + (t ^ group), so that neither those who write nor those who read columns meet in a
  // bank.
  __device__ static int dq_unit(int group, int thread) { return group * 256 + (thread ^ group); }
};

template <class T>
struct WgmmaGrad {
  CUtensorMap q, k, v, dout;  // [batch, head, row, feature], boxes of 64 features and a tile's rows
  AttentionProblem s;
  const T* out = nullptr;
  const T* dout_rows = nullptr;
  const float* lse = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;
  // Workspace. A slot of sums holds dq of a head in f32, in the order of the accumulators; a head takes slot
  // (batch * heads + head) % ring once its last owner is through with it.
  float* rows = nullptr;         // [batch, head, query block]: lse in twos of its queries, then delta
  float* sums = nullptr;         // [ring, query block, kQueries * kD]
  uint32_t* counters = nullptr;  // a ticket, then [batch, head, query block]: parts added to dq
  int query_blocks = 0, key_blocks = 0, ring = 0;
  bool rotated = false;

  __host__ __device__ int64_t count_of_counters() const {
    return 1 + static_cast<int64_t>(s.batch) * s.heads * query_blocks;
  }
};

// Barriers in shared memory, 8 bytes each: addresses.
struct GradBarriers {
  uint32_t at;
  __device__ uint32_t k_full() const { return at; }
  __device__ uint32_t v_full() const { return at + 8; }
  __device__ uint32_t q_full(int stage) const { return at + 16 + 8 * stage; }
  __device__ uint32_t dout_full(int stage) const { return at + 32 + 8 * stage; }
  __device__ uint32_t q_empty(int stage) const { return at + 48 + 8 * stage; }
  __device__ uint32_t dout_empty(int stage) const { return at + 64 + 8 * stage; }
  __device__ uint32_t dq_full() const { return at + 80; }
  __device__ uint32_t dq_empty() const { return at + 88; }
};
// Named barriers of the two computing warpgroups.
constexpr int kDsWritten = 1, kDsRead = 2, kTailCleared = 4;  // kDsRead + warpgroup
constexpr int kComputing = 256;                               // threads

// One block's work: a key head's `n`-th 128 keys.
template <class T, int kD>
struct GradWork {
  using Tile = GradTile<kD>;
  const WgmmaGrad<T>& f;
  uint32_t base;  // of shared memory
  GradBarriers bars;
  int b, key_head, n, length;
  GradOrder order;
  int start, items;  // the first query block, and how many there are of all heads of the group

  __device__ GradWork(const WgmmaGrad<T>& f, uint32_t base, uint32_t ticket)
      : f(f), base(base), bars{base + Tile::kAtBarriers} {
    const int head = static_cast<int>(ticket) / f.key_blocks;
    n = f.key_blocks - 1 - static_cast<int>(ticket) % f.key_blocks;
    b = head / f.s.key_heads;
    key_head = head % f.s.key_heads;
    length = f.s.length(b);
    order = {Tile::kQueries, Tile::kKeys, f.s.queries, length, f.s.diagonal, f.rotated};
    start = order.at(n, 0);
    items = order.steps(n) * f.s.group();
  }
  // The next query block, round the ring or from the first again, as it is for the next head too.
  __device__ int after(int m) const {
    if (m + 1 < f.query_blocks) return m + 1;
    return f.rotated ? 0 : start;
  }
  __device__ int64_t head_index(int h) const { return b * static_cast<int64_t>(f.s.heads) + h; }
};

// Makes `rows` and clears the counters.
template <class T>
void queue_grad_rows(const WgmmaGrad<T>& f, int tile, void* stream);

}  // namespace floe
