#include "text/spacing.h"

#include <gtest/gtest.h>

namespace floe {
namespace {

TEST(Spacing, StandsBetweenLatinSentences) {
  EXPECT_TRUE(space_between("Hello.", "How are you?"));
  EXPECT_TRUE(space_between("Straße", "Ende"));
}

TEST(Spacing, IsAbsentBetweenChineseJapaneseAndThai) {
  EXPECT_FALSE(space_between("你好。", "明天会下雨。"));
  EXPECT_FALSE(space_between("です", "カ"));
  EXPECT_FALSE(space_between("ไทย", "ไทย"));
}

TEST(Spacing, StandsWhereOneSideUsesSpaces) {
  EXPECT_TRUE(space_between("你好。", "Hello."));
  EXPECT_TRUE(space_between("Hello.", "你好。"));
}

TEST(Spacing, IsAbsentBesideNothing) {
  EXPECT_FALSE(space_between("", "a"));
  EXPECT_FALSE(space_between("a", ""));
}

}  // namespace
}  // namespace floe
