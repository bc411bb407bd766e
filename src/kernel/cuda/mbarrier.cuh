// How the parts of a thread block wait for each other on sm_90: mbarriers, which also count the bytes that
// the copy engine brings; named barriers; the division of registers between warpgroups. (PTX ISA, "mbarrier",
// "bar", "setmaxnreg".)
//
// An mbarrier is 8 bytes of shared memory, known by its address. A phase ends when as many arrivals as it was
// made with have come and all bytes that were announced have arrived; then the next begins by itself. Who
// waits names the parity of a phase: the first is 0, the next 1, then 0 again. wait(bar, p) returns when the
// phase of parity p has ended. So on a fresh barrier a wait for parity 1 returns at once, and that is how the
// first writer of an empty buffer waits for its readers.
//
// For sm_90a: what calls these stands within #ifdef __CUDA_ARCH_FEAT_SM90_ALL.
#pragma once
#include "kernel/cuda/warp_mma.cuh"

namespace floe {

// By one thread, before publish_barriers() and a __syncthreads().
__device__ inline void init_barrier(uint32_t bar, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(bar), "r"(arrivals) : "memory");
}
// Makes the barriers that this thread has initialised known to the copy engine and to other blocks of the
// cluster.
__device__ inline void publish_barriers() {
  asm volatile(
      "fence.mbarrier_init.release.cluster;\n"
      "fence.proxy.async.shared::cta;\n" ::
          : "memory");
}
__device__ inline void arrive(uint32_t bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(bar) : "memory");
}
// One arrival, which also says how many bytes the copies of this phase will bring.
__device__ inline void arrive_expecting(uint32_t bar, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(bar), "r"(bytes) : "memory");
}
__device__ inline void wait(uint32_t bar, uint32_t parity) {
  // try_wait sleeps for a while that the hardware chooses; the loop is in the text, where the compiler does
  // not look into it.
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra ended;\n"
      "bra again;\n"
      "ended:\n"
      "}\n" ::"r"(bar),
      "r"(parity)
      : "memory");
}

// Which buffer of a ring of kStages a step uses, and the parity of the phase in which it is filled.
template <int kStages>
struct RingPosition {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Barriers by number, 1..15 (0 is __syncthreads): `threads` is how many sync or arrive before it opens, whole
// warps. Who arrives does not wait.
__device__ inline void sync_named(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ inline void arrive_named(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;\n" ::"r"(barrier), "r"(threads) : "memory");
}

// Ordinary stores to shared memory by this thread become visible to wgmma and the copy engine; followed by a
// barrier between the writers and whoever starts those.
__device__ inline void publish_shared_stores() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

// Registers a thread of this warpgroup may use from here on, a multiple of 8. Every thread of the warpgroup
// calls it; the kernel needs a known number of threads (__launch_bounds__(n, 1)), else ptxas ignores it
// (C7508), and at the kernel's start each thread has registers_at_start(n). That is all a block ever has: who
// takes more than others have given back waits for ever, so a kernel asserts that its sum is not above.
constexpr int registers_at_start(int threads) { return 65536 / threads / 8 * 8; }
template <int kRegisters>
__device__ inline void give_back_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}

}  // namespace floe
