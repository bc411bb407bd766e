// Where the time of the gradient's warps goes: clocks between marks, summed over all steps of all blocks. For
// attention_grad_stamps_probe alone, which defines FLOE_GRAD_STAMPS; nothing is left of it elsewhere.
#pragma once
#include <cstdint>

namespace floe {

enum GradStamp {
  kStampScores,  // computing warpgroups: until the scores are there
  kStampProbabilities,
  kStampDp,
  kStampDs,
  kStampDsStored,
  kStampDq,
  kStampDqGiven,
  kStampDk,
  kStampLoads,
  kStampTurn,  // adding warps: until the turn has come
  kStampPart,  // until the part is there
  kStampRead,
  kStampWritten,
  kStampWrite,
  kGradStamps
};

#if defined(FLOE_GRAD_STAMPS)
__device__ unsigned long long grad_stamps[3]
                                         [kGradStamps + 1];  // two warpgroups, a warp that adds; then steps
__device__ int grad_without_order;
__device__ inline bool grad_keeps_order() { return grad_without_order == 0; }

struct GradStamps {
  uint32_t before;
  int who;
  bool counts;
  __device__ GradStamps(int who, bool counts) : who(who), counts(counts) { before = now(); }
  __device__ static uint32_t now() {
    uint32_t clock;
    asm volatile("mov.u32 %0, %%clock;\n" : "=r"(clock)::"memory");
    return clock;
  }
  __device__ void add(GradStamp stamp) {
    if (!counts) return;
    const uint32_t at = now();
    atomicAdd(&grad_stamps[who][stamp], static_cast<unsigned long long>(at - before));
    before = at;
  }
  __device__ void finish(int steps) const {
    if (counts) atomicAdd(&grad_stamps[who][kGradStamps], static_cast<unsigned long long>(steps));
  }
};
#else
__device__ constexpr bool grad_keeps_order() { return true; }
struct GradStamps {
  __device__ GradStamps(int, bool) {}
  __device__ void add(GradStamp) const {}
  __device__ void finish(int) const {}
};
#endif

}  // namespace floe
