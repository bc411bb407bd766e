#include "tensor/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace floe {
namespace {

// Known answers published with the Random123 library (kat_vectors, philox4x32 10).
TEST(Philox, GivesTheKnownAnswersOfRandom123) {
  EXPECT_EQ(philox({0, 0, 0, 0}, 0, 0), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, kOnes, kOnes),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, FourFeaturesShareABlockAndEachHasItsWord) {
  const PhiloxBlock block = philox({5, 7, 9, 2}, 11, 13);
  for (uint32_t k = 0; k < 4; ++k) {
    EXPECT_EQ(philox_bits(11, 13, {.feature = 20 + k, .position = 7, .ordinal = 9, .head = 2}), block[k]);
  }
}

TEST(Philox, EveryCoordinateSeedAndOpChangesTheBits) {
  std::set<uint32_t> seen;
  for (uint32_t i = 0; i < 20; ++i) {
    seen.insert(philox_bits(1, 1, {.feature = i}));
    seen.insert(philox_bits(1, 1, {.position = i + 1}));
    seen.insert(philox_bits(1, 1, {.ordinal = i + 1}));
    seen.insert(philox_bits(1, 1, {.head = i + 1}));
    seen.insert(philox_bits(i + 2, 1, {}));
    seen.insert(philox_bits(1, i + 2, {}));
  }
  EXPECT_EQ(seen.size(), 120u);
}

TEST(Philox, UniformNumbersLieInZeroToOneWithoutOne) {
  EXPECT_EQ(philox_uniform(0), 0.0f);
  EXPECT_LT(philox_uniform(0xffffffff), 1.0f);
  EXPECT_EQ(philox_uniform(0x80000000), 0.5f);
  double sum = 0;
  constexpr int kDraws = 40'000;
  for (uint32_t i = 0; i < kDraws; ++i) sum += philox_uniform(philox_bits(3, 4, {.feature = i}));
  // Six standard deviations of the mean of uniform numbers.
  EXPECT_NEAR(sum / kDraws, 0.5, 6 / std::sqrt(12.0 * kDraws));
}

}  // namespace
}  // namespace floe
