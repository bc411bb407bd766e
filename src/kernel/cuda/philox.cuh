// tensor/philox.h for the device, equal to it bit for bit.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace floe {

__device__ inline uint4 philox_block(uint4 counter, uint32_t key0, uint32_t key1) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, counter.x);
    const uint32_t high1 = __umulhi(0xCD9E8D57u, counter.z);
    counter = make_uint4(high1 ^ counter.y ^ key0, 0xCD9E8D57u * counter.z, high0 ^ counter.w ^ key1,
                         0xD2511F53u * counter.x);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

}  // namespace floe
