#include "translate/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace floe {
namespace {

using testing::ElementsAre;

TEST(Batches, PutLongRowsFirstAndKeepEqualOnesInOrder) {
  const std::vector<int64_t> lengths = {2, 5, 2, 5, 1};
  EXPECT_THAT(make_batches(lengths, {.tokens = 10, .rows = 8, .beams = 1}),
              ElementsAre(ElementsAre(1, 3), ElementsAre(0, 2, 4)));
}

TEST(Batches, CountPaddedTokensOfEveryBeam) {
  std::vector<int64_t> lengths(100);
  std::mt19937 random(1);
  for (auto& n : lengths) n = static_cast<int64_t>(random() % 60);
  const BatchLimits limits{.tokens = 400, .rows = 7, .beams = 4};
  std::set<size_t> seen;
  for (const auto& batch : make_batches(lengths, limits)) {
    int64_t longest = 0;
    for (const size_t row : batch) {
      longest = std::max(longest, lengths[row]);
      EXPECT_TRUE(seen.insert(row).second);
    }
    EXPECT_LE(batch.size(), 7u);
    EXPECT_LE(longest * static_cast<int64_t>(batch.size()) * 4, 400);
  }
  EXPECT_EQ(seen.size(), lengths.size());
}

TEST(Batches, GiveARowBeyondTheBudgetItsOwn) {
  const std::vector<int64_t> lengths = {3, 363, 3};
  EXPECT_THAT(make_batches(lengths, {.tokens = 100, .rows = 8, .beams = 1}),
              ElementsAre(ElementsAre(1), ElementsAre(0, 2)));
}

TEST(Batches, OfNothingAreNone) { EXPECT_TRUE(make_batches({}, {}).empty()); }

}  // namespace
}  // namespace floe
