#include "text/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/temp_files_for_test.h"
#include "text/unknown_rate.h"

namespace floe {
namespace {

using testing::ElementsAre;

TEST(Vocabulary, NumbersTokensByLine) {
  const Vocabulary v({"<unk>", "a", "b"}, "v", "<unk>");
  EXPECT_EQ(3u, v.size());
  EXPECT_EQ(2, v.id("b"));
  EXPECT_EQ("b", v.token(2));
  EXPECT_EQ(0, v.id("zebra"));
  EXPECT_EQ(std::nullopt, v.find("zebra"));
  EXPECT_THAT(v.ids({"b", "c", "a"}), ElementsAre(2, 0, 1));
}

// Row 8.
TEST(Vocabulary, ReadsCrlfFilesLikeLfFiles) {
  TempFiles files;
  const auto crlf = Vocabulary::load(files.write("crlf", "<unk>\r\nhello\r\nworld\r\n"), "<unk>");
  EXPECT_EQ(3u, crlf.size());
  EXPECT_THAT(crlf.ids({"hello", "world"}), ElementsAre(1, 2));
}

TEST(Vocabulary, RefusesATokenGivenTwiceWithBothLines) {
  TempFiles files;
  const std::string path = files.write("v", "a\nb\nc\nb\r\n");
  EXPECT_EQ("vocabulary " + path + ": token \"b\" is given twice, on lines 2 and 4",
            refusal([&] { Vocabulary::load(path); }));
}

TEST(Vocabulary, RefusesWhatItDoesNotHold) {
  EXPECT_EQ("vocabulary v has no token", refusal([] { Vocabulary({}, "v"); }));
  EXPECT_EQ("vocabulary v does not hold the unknown token \"<unk>\"",
            refusal([] { Vocabulary({"a"}, "v", "<unk>"); }));
  EXPECT_EQ("vocabulary v does not hold \"x\" and has no unknown token",
            refusal([] { Vocabulary({"a"}, "v").id("x"); }));
  EXPECT_THROW(Vocabulary({"a"}, "v").token(1), std::exception);
}

TEST(Vocabulary, ReadsAGivenModelsTokens) {
  const std::string path = FLOE_SOURCE_DIR "/../shared/data/ct2-aren-transliteration/source_vocabulary.txt";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "absent: shared/data/ct2-aren-transliteration";
  const auto v = Vocabulary::load(path, "<blank>");
  EXPECT_EQ(1, v.id("<s>"));
  EXPECT_EQ(2, v.id("</s>"));
  EXPECT_NE(0, v.id("آ"));
}

TEST(UnknownRate, WarnsAboveTheThreshold) {
  UnknownRate rate("corpus.en", 1, {.lines = 2, .threshold = 0.25});
  rate.add(std::vector<int32_t>{1, 1, 5});
  rate.add(std::vector<int32_t>{7});
  rate.add(std::vector<int32_t>{7, 7, 7, 7, 7, 7, 7, 7, 7, 7});  // past the lines looked at
  EXPECT_EQ("corpus.en: 50.0 % of the tokens in the first 2 lines are unknown to the vocabulary (2 of 4)",
            rate.warning().value_or("none"));
}

TEST(UnknownRate, IsSilentAtTheThresholdAndWithoutText) {
  UnknownRate rate("x", 0, {.lines = 10, .threshold = 0.5});
  EXPECT_EQ(std::nullopt, rate.warning());
  rate.add(std::vector<int32_t>{0, 3});
  EXPECT_EQ(std::nullopt, rate.warning());
  UnknownRate none("x", -1);
  none.add(std::vector<int32_t>{-1, -1});
  EXPECT_EQ(std::nullopt, none.warning());
}

// Row 8: a vocabulary whose tokens kept their carriage returns shows itself in the first lines.
TEST(UnknownRate, TellsOfAVocabularyWithForeignLineEnds) {
  const Vocabulary broken({"<unk>", "hello\r", "world\r"}, "v", "<unk>");
  UnknownRate rate("text", *broken.unknown_id());
  rate.add(broken.ids({"hello", "world"}));
  EXPECT_TRUE(rate.warning().has_value());
}

}  // namespace
}  // namespace floe
