#include "translate/ranges.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace floe {
namespace {

TEST(Ranges, GiveTheFirstGapThatFits) {
  Ranges ranges(10);
  EXPECT_EQ(ranges.take(4), 0);
  EXPECT_EQ(ranges.take(3), 4);
  EXPECT_EQ(ranges.take(4), std::nullopt);
  ranges.give_back(0, 4);
  EXPECT_EQ(ranges.take(3), 0);
  EXPECT_EQ(ranges.take(3), 7);
  EXPECT_EQ(ranges.take(1), 3);
  EXPECT_EQ(ranges.largest(), 0);
  EXPECT_EQ(ranges.take(0), 0);
}

TEST(Ranges, NeighboursJoin) {
  Ranges ranges(9);
  for (int i = 0; i < 3; ++i) ranges.take(3);
  ranges.give_back(0, 3);
  ranges.give_back(6, 3);
  EXPECT_EQ(ranges.largest(), 3);
  ranges.give_back(3, 3);
  EXPECT_EQ(ranges.largest(), 9);
}

TEST(Ranges, NeverOverlapAndComeBackWhole) {
  std::mt19937 random(1);
  constexpr int64_t kSize = 200;
  Ranges ranges(kSize);
  std::vector<int> taken(kSize);
  std::vector<std::pair<int64_t, int64_t>> held;
  for (int i = 0; i < 4000; ++i) {
    if (random() % 2 == 0 || held.empty()) {
      const auto length = static_cast<int64_t>(1 + random() % 20);
      const auto begin = ranges.take(length);
      if (!begin) continue;
      ASSERT_LE(*begin + length, kSize);
      for (int64_t k = 0; k < length; ++k) ASSERT_EQ(taken[static_cast<size_t>(*begin + k)]++, 0);
      held.emplace_back(*begin, length);
    } else {
      const size_t at = random() % held.size();
      const auto [begin, length] = held[at];
      held.erase(held.begin() + static_cast<int64_t>(at));
      for (int64_t k = 0; k < length; ++k) --taken[static_cast<size_t>(begin + k)];
      ranges.give_back(begin, length);
    }
  }
  for (const auto& [begin, length] : held) ranges.give_back(begin, length);
  EXPECT_EQ(ranges.largest(), kSize);
}

}  // namespace
}  // namespace floe
