// Random numbers without a state: a function of a key and a counter, the same on every machine (the shuffles
// and distributions of the standard library are not). SplitMix64's output function (Steele, Lea, Flood 2014)
// mixes the key's words one after the other, then the counter.
#pragma once
#include <cstdint>
#include <span>
#include <utility>

namespace floe {

struct RandomKey {
  uint64_t seed = 0;
  uint64_t epoch = 0;
  uint64_t stream = 0;  // uses of one (seed, epoch) that must not follow each other
};

namespace internal {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio, SplitMix64's step

constexpr uint64_t mix(uint64_t x) {
  x += kGolden;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace internal

constexpr uint64_t counter_random(RandomKey key, uint64_t counter) {
  const uint64_t k = internal::mix(internal::mix(internal::mix(key.seed) ^ key.epoch) ^ key.stream);
  return internal::mix(k ^ internal::mix(counter));
}

// Uniform in [0, 1), 53 bits.
constexpr double counter_uniform(RandomKey key, uint64_t counter) {
  return static_cast<double>(counter_random(key, counter) >> 11) * 0x1p-53;
}

// Fisher and Yates; the upper half of the 128-bit product picks the place, with a bias below size / 2^64.
template <class T>
void counter_shuffle(std::span<T> items, RandomKey key) {
  for (uint64_t left = items.size(); left > 1; --left) {
    const auto product = static_cast<unsigned __int128>(counter_random(key, left)) * left;
    std::swap(items[left - 1], items[static_cast<uint64_t>(product >> 64)]);
  }
}

}  // namespace floe
