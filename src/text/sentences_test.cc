#include "text/sentences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/lines.h"
#include "text/temp_files_for_test.h"

namespace floe {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using std::string_literals::operator""s;

std::vector<std::string> texts(const Paragraph& paragraph) {
  std::vector<std::string> out;
  for (const auto& sentence : paragraph.sentences) out.push_back(sentence.text);
  return out;
}

TEST(Sentences, KeepsWhatStandsBetweenThem) {
  const auto p = SentenceSplitter().split("  It rains.  We stay\u00A0in!\tWhy? ");
  EXPECT_EQ("  ", p.lead);
  EXPECT_THAT(texts(p), ElementsAre("It rains.", "We stay\u00A0in!", "Why?"));
  EXPECT_EQ("  ", p.sentences[0].separator);
  EXPECT_EQ("\t", p.sentences[1].separator);
  EXPECT_EQ(" ", p.sentences[2].separator);
}

TEST(Sentences, SplitsChineseAtFullWidthStops) {
  const auto p = SentenceSplitter("zh").split("今天下雨。我们不出去！为什么？因为冷。");
  EXPECT_THAT(texts(p), ElementsAre("今天下雨。", "我们不出去！", "为什么？", "因为冷。"));
  for (const auto& sentence : p.sentences) EXPECT_EQ("", sentence.separator);
  EXPECT_THAT(texts(SentenceSplitter("en").split("他说：“好。”然后走了。")),
              ElementsAre("他说：“好。”", "然后走了。"));
}

TEST(Sentences, DoesNotBreakAfterAbbreviations) {
  EXPECT_THAT(texts(SentenceSplitter("en").split("Mr. Smith met Dr. Jones. They spoke.")),
              ElementsAre("Mr. Smith met Dr. Jones.", "They spoke."));
  EXPECT_THAT(texts(SentenceSplitter("de").split("Das gilt z.B. Montags. Sonst nicht.")),
              ElementsAre("Das gilt z.B. Montags.", "Sonst nicht."));
  EXPECT_THAT(texts(SentenceSplitter("en").split("It costs 3.50 euros. Cheap.")),
              ElementsAre("It costs 3.50 euros.", "Cheap."));
}

// Row 2: nothing is made of nothing.
TEST(Sentences, FindsNoneInABlankParagraph) {
  for (const auto& blank : {""s, " "s, "\t\u00A0"s, "\u3000\u200B"s, "\n\n"s}) {
    const auto p = SentenceSplitter().split(blank);
    EXPECT_THAT(p.sentences, IsEmpty());
    EXPECT_EQ(blank, p.lead);
  }
}

TEST(Sentences, JoinToTheParagraphWhateverItsBytes) {
  const std::vector<std::string> atoms{"A b.", " ",    "?",        "。",  "\u00A0", "\n",         "\r\n",
                                       "Dr.",  "\xFF", "\xE4\xBD", "\0"s, "x",      "\u200B",     "\u2028",
                                       "！",   "“",    "”",        "3.5", "…",      "\U0001F600", "Z"};
  uint64_t state = 7;
  const SentenceSplitter splitter;
  for (int round = 0; round < 2000; ++round) {
    std::string paragraph;
    for (int k = 0; k < 12; ++k) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      paragraph += atoms[(state >> 33) % atoms.size()];
    }
    const auto p = splitter.split(paragraph);
    ASSERT_EQ(paragraph, p.join());
    for (const auto& sentence : p.sentences) {
      ASSERT_FALSE(is_blank(sentence.text)) << testing::PrintToString(paragraph);
      ASSERT_TRUE(is_blank(sentence.separator)) << testing::PrintToString(paragraph);
    }
    ASSERT_TRUE(is_blank(p.lead));
  }
}

TEST(Sentences, RefusesWhatIsNoLanguageTag) {
  EXPECT_EQ("\"not a tag\" is not a language tag such as en or zh-Hant",
            refusal([] { SentenceSplitter("not a tag"); }));
}

TEST(Sentences, TakesGeneralRulesForAnUnknownLanguage) {
  EXPECT_THAT(texts(SentenceSplitter("tlh").split("Qapla'. Heghlu'meH.")),
              ElementsAre("Qapla'.", "Heghlu'meH."));
}

}  // namespace
}  // namespace floe
