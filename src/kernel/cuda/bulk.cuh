// Contiguous bulk copies of the copy engine (sm_90), and counters that order blocks of one grid among each
// other. Addresses and sizes are multiples of 16 bytes.
#pragma once
#include "kernel/cuda/tma.cuh"

namespace floe {

// Memory to shared memory; completes on the mbarrier at shared address `barrier` with `bytes`.
__device__ inline void bulk_load(uint32_t to_shared, const void* from, uint32_t bytes, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(
          to_shared),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}
// Shared memory to memory, as it is or added to the floats there. Belongs to the thread's next group
// (tma.cuh: commit_stores).
__device__ inline void bulk_store(void* to, uint32_t from_shared, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\n" ::"l"(to), "r"(from_shared),
               "r"(bytes)
               : "memory");
}
__device__ inline void bulk_add(float* to, uint32_t from_shared, uint32_t bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;\n" ::"l"(to),
               "r"(from_shared), "r"(bytes)
               : "memory");
}

// Orders ordinary accesses to memory and shared memory before those of the copy engine and the tensor cores,
// and the other way round.
__device__ inline void fence_engine() { asm volatile("fence.proxy.async;\n" ::: "memory"); }

// Until *counter >= wanted. What was done before the release() that made it so can be seen after.
__device__ inline void wait_for_count(const uint32_t* counter, uint32_t wanted) {
  uint32_t seen;
  do {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];\n" : "=r"(seen) : "l"(counter) : "memory");
  } while (static_cast<int32_t>(seen - wanted) < 0);
}
__device__ inline void release_count(uint32_t* counter, uint32_t more) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;\n" ::"l"(counter), "r"(more) : "memory");
}

}  // namespace floe
