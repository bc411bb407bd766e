#include "kernel/cuda/k_slices.h"

#include <gtest/gtest.h>

namespace floe {
namespace {

TEST(KSlices, FillACardWhereTilesDoNot) {
  const KSlices cut = k_slices(512, 512, 16384);  // 16 tiles of 132
  EXPECT_EQ(cut.count, 8);
  EXPECT_EQ(cut.length, 2048);
  EXPECT_EQ(cut.rest, 0);
  EXPECT_GT(k_slices(256, 256, 3072).count, 4);
}

TEST(KSlices, LeaveAloneWhatFillsACardOrIsTooShortOrTooNarrow) {
  EXPECT_EQ(k_slices(32768, 512, 4096).parts(), 1);
  EXPECT_EQ(k_slices(512, 512, 64).parts(), 1);
  EXPECT_EQ(k_slices(512, 512, 0).parts(), 1);
  EXPECT_EQ(k_slices(1, 4096, 16384).parts(), 1);
}

TEST(KSlices, CoverAllOfKInFewBytes) {
  for (const int64_t side : {33, 64, 200, 512, 1000, 2048}) {
    for (const int64_t k : {1, 63, 65, 127, 1025, 3072, 4099, 16384, 16411, 70001}) {
      const KSlices cut = k_slices(side, side + 8, k);
      EXPECT_EQ(cut.count * cut.length + cut.rest, k);
      EXPECT_LE(cut.count, KSlices::kMost);
      if (cut.parts() == 1) continue;
      EXPECT_GT(cut.count, 1);
      EXPECT_EQ(cut.length % KSlices::kStep, 0);
      EXPECT_LT(cut.rest, cut.length);
      EXPECT_LE(cut.parts() * side * (side + 8) * 4, KSlices::kPartialBytes);
    }
  }
}

}  // namespace
}  // namespace floe
