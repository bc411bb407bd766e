// The copy engine of sm_90: boxes of a tensor of up to four dims between global and shared memory, as
// tensor_map.h describes them. (PTX ISA, "cp.async.bulk.tensor".)
//
// One thread starts a copy. Coordinates are elements, innermost dim first, of the box's corner. Elements
// outside the tensor arrive as zeros and are not written; their bytes count for the barrier nevertheless.
// Boxes with the 128-byte swizzle lie at multiples of 1024 bytes: row r is 128 bytes at 128 r, and its
// 16-byte unit u lies at place u ^ (r % 8), which wgmma.cuh's descriptors know too.
//
// For sm_90a: what calls these stands within #ifdef __CUDA_ARCH_FEAT_SM90_ALL.
#pragma once
#include <cuda.h>

#include "kernel/cuda/mbarrier.cuh"

namespace floe {

// How long the L2 should keep what is copied.
enum class Keep { shortly, normally, long_ };

template <Keep kKeep>
__device__ inline uint64_t cache_policy() {
  uint64_t policy;
  if constexpr (kKeep == Keep::shortly) {
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;\n" : "=l"(policy));
  } else if constexpr (kKeep == Keep::long_) {
    asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;\n" : "=l"(policy));
  } else {
    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;\n" : "=l"(policy));
  }
  return policy;
}

struct BoxCorner {
  int at[4];
};

__device__ inline void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}

// `bar` learns of the bytes; `policy` is cache_policy()'s.
__device__ inline void load_box(const CUtensorMap* map, uint32_t bar, uint32_t to, const BoxCorner& corner,
                                uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], %7;\n" ::"r"(to),
      "l"(map), "r"(bar), "r"(corner.at[0]), "r"(corner.at[1]), "r"(corner.at[2]), "r"(corner.at[3]),
      "l"(policy)
      : "memory");
}

// After publish_shared_stores() and a barrier of those who wrote the box; committed by commit_stores().
__device__ inline void store_box(const CUtensorMap* map, uint32_t from, const BoxCorner& corner) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], [%1];\n" ::"l"(map),
      "r"(from), "r"(corner.at[0]), "r"(corner.at[1]), "r"(corner.at[2]), "r"(corner.at[3])
      : "memory");
}

__device__ inline void commit_stores() { asm volatile("cp.async.bulk.commit_group;\n" ::: "memory"); }
// Until all but the kLeft newest groups of this thread have read their shared memory, which may then be
// overwritten;
template <int kLeft>
__device__ inline void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;\n" ::"n"(kLeft) : "memory");
}
// or have been written to global memory too.
template <int kLeft>
__device__ inline void wait_stores() {
  asm volatile("cp.async.bulk.wait_group %0;\n" ::"n"(kLeft) : "memory");
}

}  // namespace floe
