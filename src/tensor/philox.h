// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// A mask element depends only on (seed, op id) and on unpadded coordinates: feature, position, the sentence's
// ordinal in the step's global batch, and head. So masks do not change with fusion, padding, batch split or
// rank.
#pragma once
#include <array>
#include <cstdint>

namespace floe {

using PhiloxBlock = std::array<uint32_t, 4>;

constexpr PhiloxBlock philox(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(p0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// Four consecutive features share a block.
struct PhiloxCoordinates {
  uint32_t feature = 0;
  uint32_t position = 0;
  uint32_t ordinal = 0;
  uint32_t head = 0;
};

constexpr uint32_t philox_bits(uint32_t seed, uint32_t op_id, const PhiloxCoordinates& at) {
  return philox({at.feature >> 2, at.position, at.ordinal, at.head}, seed, op_id)[at.feature & 3];
}

// The upper 24 bits as a float in [0, 1): exact in f32.
constexpr float philox_uniform(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

}  // namespace floe
