#include "translate/translator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/temp_files_for_test.h"
#include "text/tokenizer_train.h"
#include "text/utf8.h"
#include "translate/fake_decoder_for_test.h"

namespace floe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Door {
  FakeDecoder decoder;
  std::vector<std::string> warnings;
  ModelText text = letter_text();
  TranslatorOptions options;

  std::vector<Translation> operator()(const std::vector<std::string>& lines,
                                      const std::vector<std::string>& prefixes = {}, uint64_t first = 1) {
    Translator translator(text, decoder, options, [this](const std::string& w) { warnings.push_back(w); });
    return translator.translate(lines, prefixes, first);
  }
  std::vector<std::string> texts(const std::vector<std::string>& lines) {
    std::vector<std::string> out;
    for (const Translation& t : (*this)(lines)) out.push_back(t.text());
    return out;
  }
};

TEST(Translator, GivesLinesBackInOrderHoweverBatchesCutThem) {
  Door door;
  door.options.batch_tokens = 8;
  door.options.search.beam = 1;
  const std::vector<std::string> lines = {"a", "b c d", "d", "a a a a a", "", "b b", "c"};
  EXPECT_EQ(door.texts(lines), lines);
  EXPECT_GT(door.decoder.batches.size(), 2u);
}

TEST(Translator, NeverRunsTheModelForBlankLines) {
  Door door;
  for (const std::string line : {"", " ", "   ", "\t", "\xC2\xA0", "\xE3\x80\x80", "\xE2\x80\x8B"}) {
    const auto out = door({line});
    ASSERT_EQ(out.size(), 1u);
    ASSERT_EQ(out[0].candidates.size(), 1u);
    EXPECT_EQ(out[0].text(), "");
    EXPECT_EQ(out[0].candidates[0].score, 0);
    EXPECT_FALSE(out[0].failure);
  }
  EXPECT_EQ(door.decoder.calls, 0);
}

TEST(Translator, KeepsBlankLinesInTheirPlaceAmongOthers) {
  Door door;
  EXPECT_THAT(door.texts({"", "a b", " ", "c", "\t"}), ElementsAre("", "a b", "", "c", ""));
  EXPECT_EQ(door.decoder.seen.size(), 2u);
}

TEST(Translator, TakesALineOfLanguageTagsAloneForBlank) {
  Door door;
  door.text = letter_text({"<2de>"});
  door.text.tags = {"<2de>"};
  EXPECT_THAT(door.texts({"<2de>", "<2de> a"}), ElementsAre("", "<2de> a"));
  EXPECT_EQ(door.decoder.seen.size(), 1u);
}

TEST(Translator, CutsALongLineWithOneWarningThatNamesIt) {
  Door door;
  door.text.max_source = 4;
  const auto out = door({"a", "a b c d a b", "c"}, {}, 580);
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[1].text(), "a b c");
  EXPECT_EQ(out[2].text(), "c");
  ASSERT_EQ(door.warnings.size(), 1u);
  EXPECT_EQ(door.warnings[0], "line 581 has 6 tokens; the model takes 3, and what follows them is left out");
  for (const auto& row : door.decoder.seen) EXPECT_EQ(row.source.back(), 3);
}

TEST(Translator, WarnsOnceForALineWithSeveralLongSentences) {
  Door door;
  door.text = letter_text({"d."});
  door.text.max_source = 3;
  door.options.split_sentences = true;
  door({"A b c d. A b c d."});
  EXPECT_EQ(door.warnings.size(), 1u);
}

TEST(Translator, RefusesALongLineWhenStrict) {
  Door door;
  door.text.max_source = 4;
  door.options.strict = true;
  EXPECT_EQ(refusal([&] { door({"a", "a b c d a b"}); }), "line 2 has 6 tokens; the model takes 3");
  EXPECT_EQ(door.decoder.calls, 0);
}

TEST(Translator, AsksForAtLeastOneTokenAndALengthBoundedByTheSource) {
  Door door;
  door({"a"});
  EXPECT_EQ(door.decoder.search.min_length, 1);
  EXPECT_GT(door.decoder.search.max_length_ratio, 0);
  EXPECT_THAT(door.decoder.search.ends, ElementsAre(3));
}

TEST(Translator, BatchesByPaddedTokensTimesBeams) {
  Door door;
  door.text.max_source = 400;
  door.text.max_target = 400;
  door.options.search.beam = 4;
  door.options.batch_tokens = 80;
  std::string line = "a";
  for (int i = 1; i < 363; ++i) line += " a";
  std::vector<std::string> lines(20, "b c d a");  // 5 with the end token
  lines[7] = line;
  EXPECT_EQ(door.texts(lines), lines);
  EXPECT_THAT(door.decoder.batches, ElementsAre(1, 4, 4, 4, 4, 3));
}

TEST(Translator, HalvesABatchThatDoesNotFit) {
  Door door;
  door.decoder.memory = 4;
  const std::vector<std::string> lines = {"a", "b", "c", "d", "a"};
  EXPECT_EQ(door.texts(lines), lines);
  EXPECT_THAT(door.warnings, IsEmpty());
}

TEST(Translator, FailsOnlyTheLineThatNeverFits) {
  Door door;
  door.decoder.unbearable = 7;  // d
  const auto out = door({"a", "b d", "", "c"}, {}, 10);
  ASSERT_EQ(out.size(), 4u);
  EXPECT_EQ(out[0].text(), "a");
  EXPECT_EQ(out[3].text(), "c");
  EXPECT_TRUE(out[1].candidates.empty());
  EXPECT_EQ(out[1].text(), "");
  ASSERT_TRUE(out[1].failure);
  EXPECT_EQ(*out[1].failure, "line 11 with 2 tokens was not translated: there is not enough memory");
  EXPECT_THAT(door.warnings, ElementsAre(*out[1].failure));
}

TEST(Translator, DoesNotTakeABrokenDeviceForLackOfMemory) {
  Door door;
  door.decoder.answer = [](const SequenceRow&) -> std::vector<Hypothesis> {
    throw Error(ErrorKind::device, "cudaStreamSynchronize: an illegal memory access was encountered");
  };
  EXPECT_THAT(refusal([&] { door({"a", "b"}); }), HasSubstr("an illegal memory access"));
  EXPECT_EQ(door.decoder.calls, 1);
}

TEST(Translator, DoesNotTakeABrokenPromiseForLackOfMemory) {
  Door door;
  door.decoder.answer = [](const SequenceRow&) -> std::vector<Hypothesis> { FLOE_CHECK(false, "a bug"); };
  EXPECT_THAT(refusal([&] { door({"a", "b"}); }), HasSubstr("a bug"));
  EXPECT_EQ(door.decoder.calls, 1);
}

TEST(Translator, ReplacesInvalidUtf8AndGivesValidUtf8) {
  Door door;
  door.text = letter_text({"\xEF\xBF\xBD"});
  EXPECT_THAT(door.texts({"a \xFF b"}), ElementsAre("a \xEF\xBF\xBD b"));
  door.options.strict = true;
  EXPECT_EQ(refusal([&] { door({"a", "a \xFF"}); }), "line 2 is not valid UTF-8");
}

TEST(Translator, GivesOneLineOfValidUtf8WhateverTheIds) {
  // Byte pieces can spell line feeds and broken characters.
  TokenizerTraining training;
  for (int i = 0; i < 200; ++i) training.lines.push_back("a cat sat on mat number " + std::to_string(i));
  training.vocabulary_size = 300;
  training.byte_fallback = true;
  training.type = TokenizerType::bpe;
  Door door;
  const TextCodec codec(Tokenizer::from_bytes(train_tokenizer(training), "bytes"));
  door.text.source = door.text.target = codec;
  const int32_t cat = codec.encode("cat").ids[0];
  for (const char* byte : {"<0x0A>", "<0x0D>", "<0xE4>", "<0xFF>", "<0x00>"}) {
    const int32_t id = codec.find(byte);
    ASSERT_GE(id, 0) << byte;
    door.decoder.answer = [&](const SequenceRow&) {
      return std::vector{Hypothesis{.tokens = {cat, id, cat}}};
    };
    const std::string text = door.texts({"cat"})[0];
    EXPECT_TRUE(is_valid_utf8(text)) << byte;
    EXPECT_EQ(text.find_first_of("\r\n"), std::string::npos) << byte;
  }
}

TEST(Translator, RefusesPrefixesOfAnotherNumber) {
  Door door;
  EXPECT_EQ(refusal([&] { door({"a", "b", "c"}, {"a", "b"}); }), "3 lines with 2 prefixes");
  EXPECT_EQ(door.decoder.calls, 0);
}

TEST(Translator, HandsPrefixesToTheirLines) {
  Door door;
  door({"a", "", "b c"}, {"d d", "a", ""});
  ASSERT_EQ(door.decoder.seen.size(), 2u);
  EXPECT_THAT(door.decoder.seen[0].prefix, IsEmpty());
  EXPECT_THAT(door.decoder.seen[1].prefix, ElementsAre(7, 7));
}

TEST(Translator, RefusesAPrefixBeyondTheMaximumLength) {
  Door door;
  door.options.search.max_length = 2;
  EXPECT_EQ(refusal([&] { door({"a"}, {"a b c"}); }),
            "the prefix of line 1 has 3 tokens; its translation has at most 2");
}

TEST(Translator, RefusesASuppressedTokenThatIsNotThere) {
  Door door;
  door.options.suppressed = {"b", "zebra"};
  EXPECT_EQ(refusal([&] { door({"a"}); }), "the suppressed token 'zebra' is not in the target vocabulary");
  door.options.suppressed = {"b"};
  door({"a"});
  EXPECT_THAT(door.decoder.search.suppressed, ElementsAre(5));
}

TEST(Translator, NeverLetsPaddingOrStartIntoATranslation) {
  Door door;
  door.text.silent = {0, 2};
  door.options.suppressed = {"b"};
  door({"a"});
  EXPECT_THAT(door.decoder.search.suppressed, ElementsAre(5, 0, 2));
}

TEST(Translator, GivesDistinctCandidatesBestFirst) {
  Door door;
  door.text.target = TextCodec(letters({"ab"}), TokenSplit::characters, {0, 2, 3});
  door.options.search.n_best = 4;
  door.decoder.answer = [](const SequenceRow&) {
    return std::vector<Hypothesis>{
        {.tokens = {4, 5}, .score = -0.5}, {.tokens = {8}, .score = -0.7}, {.tokens = {6}, .score = -0.2}};
  };
  const auto out = door({"a"});
  ASSERT_EQ(out[0].candidates.size(), 2u);
  EXPECT_EQ(out[0].candidates[0].text, "c");
  EXPECT_EQ(out[0].candidates[1].text, "ab");
  EXPECT_EQ(out[0].candidates[1].tokens.size(), 2u);
}

TEST(Translator, NamesRowsBySentenceSoThatDrawsDoNotDependOnBatches) {
  Door one, many;
  one.options.batch_tokens = 1;
  many.options.batch_tokens = 1 << 20;
  const std::vector<std::string> lines = {"a", "b c", "", "d"};
  one(lines);
  many(lines);
  ASSERT_EQ(one.decoder.seen.size(), many.decoder.seen.size());
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(one.decoder.seen[i].ordinal, many.decoder.seen[i].ordinal);
  Door later;
  later({"b c"}, {}, 2);
  EXPECT_EQ(later.decoder.seen[0].ordinal, one.decoder.seen[0].ordinal);
}

TEST(Translator, GivesAnAttentionRowForEveryTokenOverTheWholeSource) {
  Door door;
  door.options.attention.wanted = true;
  door.text.max_source = 4;
  const auto out = door({"a b c d a b", "a b", ""});
  const Alignment& cut = *out[0].candidates[0].alignment;
  EXPECT_EQ(cut.columns, 6);
  ASSERT_EQ(cut.rows(), 3);
  for (int64_t r = 0; r < 3; ++r) {
    EXPECT_EQ(cut.row(r)[static_cast<size_t>(r)], 1.0f);
    for (size_t c = 3; c < 6; ++c) EXPECT_EQ(cut.row(r)[c], 0.0f);
  }
  EXPECT_EQ(out[1].candidates[0].alignment->columns, 2);
  EXPECT_EQ(out[1].candidates[0].alignment->rows(), 2);
  EXPECT_EQ(out[2].candidates[0].alignment->rows(), 0);
}

TEST(Translator, ReplacesUnknownTokensBySourceTokens) {
  Door door;
  EXPECT_THAT(door.texts({"a Æsir b"}), ElementsAre("a <unk> b"));
  door.options.replace_unknown = true;
  const auto out = door({"a Æsir b"});
  EXPECT_EQ(out[0].text(), "a Æsir b");
  EXPECT_THAT(out[0].candidates[0].tokens, ElementsAre("a", "Æsir", "b"));
  EXPECT_FALSE(out[0].candidates[0].alignment);
}

TEST(Translator, ReplacesUnknownPiecesWithTheirSpaces) {
  TokenizerTraining training;
  for (int i = 0; i < 200; ++i)
    training.lines.push_back("a cat sat on the mat with a hat " + std::to_string(i));
  training.vocabulary_size = 34;
  Door door;
  const TextCodec codec(Tokenizer::from_bytes(train_tokenizer(training), "cats"));
  door.text.source = door.text.target = codec;
  door.text.max_source = 100;
  door.options.replace_unknown = true;
  EXPECT_THAT(door.texts({"Žž", "a cat Žž on the mat", "Žž cat", "a hatŽž cat", "cat Žž"}),
              ElementsAre("Žž", "a cat Žž on the mat", "Žž cat", "a hatŽž cat", "cat Žž"));
}

TEST(Translator, TranslatesSentencesOneByOneAndPutsThemBack) {
  Door door;
  door.text = letter_text({"A", "c.", "B", "d.", "你好。"});
  door.options.split_sentences = true;
  const auto out = door({"A b c. B a d.", "你好。你好。", "", "A b"});
  EXPECT_EQ(door.decoder.seen.size(), 5u);
  EXPECT_EQ(out[0].text(), "A b c. B a d.");
  EXPECT_EQ(out[1].text(), "你好。你好。");
  EXPECT_EQ(out[2].text(), "");
  EXPECT_EQ(out[3].text(), "A b");
  EXPECT_EQ(out[0].candidates[0].log_probability, -6);
  EXPECT_EQ(out[0].candidates[0].score, -6.0 / 8);
  EXPECT_EQ(out[0].candidates[0].tokens.size(), 6u);
}

TEST(Translator, PutsASpaceBetweenSentencesThatHadNone) {
  Door door;
  door.text = letter_text({"你好。"});
  door.options.split_sentences = true;
  door.decoder.answer = [](const SequenceRow&) { return std::vector{Hypothesis{.tokens = {4}}}; };
  EXPECT_THAT(door.texts({"你好。你好。"}), ElementsAre("a a"));
}

struct Refused {
  TranslatorOptions options;
  std::string message;
};

class RefusedOptions : public testing::TestWithParam<Refused> {};

TEST_P(RefusedOptions, AreNamedWithTheirValue) {
  Door door;
  door.options = GetParam().options;
  EXPECT_EQ(refusal([&] { door({"a"}); }), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Translator, RefusedOptions,
    testing::Values(
        Refused{{.search = {.beam = 0}}, "beam must be at least 1, got 0"},
        Refused{{.search = {.beam = 9}}, "beam is 9, but the target vocabulary has only 8 tokens"},
        Refused{{.search = {.n_best = 5}},
                "n_best is 5, but a beam of 4 with patience 1 ends with 4 hypotheses"},
        Refused{{.search = {.n_best = 5000, .sampling = true}}, "n_best must be at most 1024, got 5000"},
        Refused{{.search = {.min_length = 41}}, "min_length is 41, but the model gives at most 40 tokens"},
        Refused{{.search = {.ends = {8}}}, "end token 8 is outside 0..7"},
        Refused{{.batch_tokens = 0}, "batch_tokens must be at least 1, got 0"},
        Refused{{.batch_rows = 0}, "batch_rows must be at least 1, got 0"},
        Refused{{.search = {.n_best = 2}, .split_sentences = true},
                "n_best is 2, but a line that is split into sentences has one translation"},
        Refused{{.attention = {.wanted = true}, .split_sentences = true},
                "a line that is split into sentences has no alignment"}));

}  // namespace
}  // namespace floe
