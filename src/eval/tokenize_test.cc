#include "eval/tokenize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "eval/ngram.h"
#include "eval/unicode.h"

namespace floe {
namespace {

std::string tokens(BleuTokenizer tokenizer, std::string_view line) {
  return encode_utf8(tokenize(tokenizer, decode_utf8(line).value()));
}

TEST(Tokenize13a, KeepsPointsAndCommasOnlyBetweenDigits) {
  EXPECT_EQ(tokens(BleuTokenizer::v13a, "1,000.50 a.b 5. .5 x,"), "1,000.50 a . b 5 . . 5 x ,");
}

TEST(Tokenize13a, SplitsADashOnlyAfterADigit) {
  EXPECT_EQ(tokens(BleuTokenizer::v13a, "1-2 a-b 3-a"), "1 - 2 a-b 3 - a");
}

TEST(Tokenize13a, UnescapesEntitiesInTheirOrder) {
  EXPECT_EQ(tokens(BleuTokenizer::v13a, "&quot;&amp;lt;&amp;quot;"), "\" < & quot ;");
}

TEST(Tokenize13a, LeavesOtherScriptsPunctuationAlone) {
  EXPECT_EQ(tokens(BleuTokenizer::v13a, "„ja“ 你好，再见。"), "„ja“ 你好，再见。");
}

TEST(TokenizeZh, PutsEveryChineseCharacterAlone) {
  EXPECT_EQ(tokens(BleuTokenizer::zh, "我有2.5元,ok."), "我 有 2.5 元 , ok .");
}

TEST(TokenizeZh, ReadsTheTableOfRangesAsPublished) {
  // U+2014 counts as Chinese, U+20000 (extension B) does not.
  EXPECT_EQ(tokens(BleuTokenizer::zh, "a—b𠀀c"), "a — b𠀀c");
}

TEST(TokenizeIntl, SplitsUnicodePunctuationAndSymbols) {
  EXPECT_EQ(tokens(BleuTokenizer::intl, "„ja“ 5€ 1,5 im Jahr 2001."), "„ ja “ 5 € 1,5 im Jahr 2001.");
}

TEST(TokenizeChar, DropsSpaces) { EXPECT_EQ(tokens(BleuTokenizer::character, "aß 你 "), "a ß 你"); }

TEST(TokenizeNone, SplitsAtUnicodeSpaces) {
  EXPECT_EQ(tokens(BleuTokenizer::none, " a\u00a0b\u3000c.\t"), "a b c.");
}

TEST(Tokenizer, NamesReadBack) {
  for (const auto tokenizer : {BleuTokenizer::v13a, BleuTokenizer::zh, BleuTokenizer::intl,
                               BleuTokenizer::character, BleuTokenizer::none}) {
    EXPECT_EQ(tokenizer_from_name(tokenizer_name(tokenizer)), tokenizer);
  }
}

TEST(Tokenizer, RefusesAnUnknownNameAndListsTheKnown) {
  try {
    tokenizer_from_name("moses");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    EXPECT_STREQ(error.what(), "no BLEU tokenizer is called \"moses\"; there are 13a, zh, intl, char, none");
  }
}

TEST(Lower, MakesASigmaFinalOnlyAtAWordsEnd) {
  EXPECT_EQ(lower(U"ΟΔΟΣ ΣΟΣ Σ"), U"οδος σος σ");
  EXPECT_EQ(lower(U"ΑΣ'Β ΑΣ'"), U"ασ'β ας'");
}

TEST(Lower, TurnsADottedCapitalIIntoTwoCharacters) { EXPECT_EQ(lower(U"İI"), U"i\u0307i"); }

TEST(Lower, LeavesSharpSAlone) { EXPECT_EQ(lower(U"ßẞ"), U"ßß"); }

TEST(Utf8, RefusesWhatPythonRefuses) {
  for (const std::string_view bad : {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe4\xbd", "\xff"}) {
    size_t at = 0;
    EXPECT_FALSE(decode_utf8("ab" + std::string(bad), &at)) << testing::PrintToString(bad);
    EXPECT_EQ(at, 2u);
  }
}

TEST(Utf8, ReadsBackWhatItWrote) {
  const std::u32string text = U"a\u00df\u20ac\U0001f31e\U0010ffff";
  EXPECT_EQ(decode_utf8(encode_utf8(text)).value(), text);
}

TEST(SplitWords, TakesControlSeparatorsForSpacesButNotZeroWidthOnes) {
  EXPECT_EQ(split_words(U"a\x1c"
                        U"b\u0085c\u2028d")
                .size(),
            4u);
  EXPECT_EQ(split_words(U"a\u200bb\ufeffc").size(), 1u);
}

}  // namespace
}  // namespace floe
