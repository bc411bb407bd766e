#include "translate/alignment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace floe {
namespace {

using testing::ElementsAre;

TEST(Alignment, DropsSpecialColumnsAndScalesTheRest) {
  const Alignment a = alignment_of({{0.25f, 0.25f, 0.5f}, {0.0f, 0.75f, 0.25f}}, {.read = 2, .original = 4});
  EXPECT_THAT(a.weights, ElementsAre(0.5f, 0.5f, 0, 0, 0, 1, 0, 0));
}

TEST(Alignment, IsUniformWhereOnlySpecialTokensWereLookedAt) {
  EXPECT_THAT(alignment_of({{0, 0, 1}}, {.read = 2, .original = 2}).weights, ElementsAre(0.5f, 0.5f));
}

TEST(Alignment, TakesTheFirstOfEqualWeights) {
  const Alignment a{.columns = 3, .weights = {0.4f, 0.4f, 0.2f, 0, 0.1f, 0.9f}};
  EXPECT_THAT(hard_alignment(a), ElementsAre(0, 2));
  EXPECT_EQ(hard_alignment_text(a), "0-0 2-1");
}

TEST(Alignment, PrintsWeightsInGroups) {
  const Alignment a{.columns = 2, .weights = {0.9f, 0.1f, 0, 1}};
  EXPECT_EQ(soft_alignment_text(a), "0.9000,0.1000 0.0000,1.0000");
}

TEST(Alignment, OfNothingIsEmpty) {
  EXPECT_EQ(hard_alignment_text({}), "");
  EXPECT_EQ(soft_alignment_text({}), "");
}

}  // namespace
}  // namespace floe
