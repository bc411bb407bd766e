#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "text/lines.h"
#include "text/temp_files_for_test.h"
#include "text/tokenizer_train.h"
#include "text/utf8.h"

namespace floe {
namespace {

using testing::AnyOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

using std::string_literals::operator""s;

// A small language: enough repetition to learn pieces from.
std::vector<std::string> sample_text() {
  const std::vector<std::string> who{"the small dog", "a tall woman", "the old man", "two children",
                                     "my neighbour"};
  const std::vector<std::string> does{"is running", "was walking", "sits quietly", "keeps singing",
                                      "plays football"};
  const std::vector<std::string> where{"in the garden", "near the river", "on a bench", "beside the road",
                                       "at home"};
  std::vector<std::string> out;
  for (const auto& w : who) {
    for (const auto& d : does) {
      for (const auto& p : where) out.push_back(w + " " + d + " " + p + ".");
    }
  }
  return out;
}

TokenizerTraining sample_training(TokenizerType type = TokenizerType::unigram) {
  return {.lines = sample_text(), .vocabulary_size = 50, .type = type};
}

Tokenizer sample_tokenizer(TokenizerType type = TokenizerType::unigram) {
  return Tokenizer::from_bytes(train_tokenizer(sample_training(type)), "sample");
}

class EveryType : public testing::TestWithParam<TokenizerType> {};
INSTANTIATE_TEST_SUITE_P(Tokenizer, EveryType, testing::Values(TokenizerType::unigram, TokenizerType::bpe));

TEST_P(EveryType, GivesBackTheTextItEncoded) {
  const auto t = sample_tokenizer(GetParam());
  EXPECT_EQ(50, t.size());
  for (const auto& line : sample_text()) {
    const auto ids = t.encode(line);
    EXPECT_EQ(line, t.decode(ids));
    EXPECT_LT(ids.size(), line.size());
    std::vector<std::string> pieces;
    for (const int32_t id : ids) pieces.push_back(t.piece(id));
    EXPECT_EQ(pieces, t.encode_pieces(line));
  }
}

TEST_P(EveryType, TrainsTheSameBytesAgainAndOnAnotherThread) {
  const std::string first = train_tokenizer(sample_training(GetParam()));
  EXPECT_EQ(first, train_tokenizer(sample_training(GetParam())));
  std::string other;
  std::thread([&] { other = train_tokenizer(sample_training(GetParam())); }).join();
  EXPECT_EQ(first, other);
}

TEST_P(EveryType, PutsTheSpecialPiecesFirst) {
  const auto t = sample_tokenizer(GetParam());
  EXPECT_EQ(kTrainedPadId, t.pad_id());
  EXPECT_EQ(kTrainedUnkId, t.unk_id());
  EXPECT_EQ(kTrainedBosId, t.bos_id());
  EXPECT_EQ(kTrainedEosId, t.eos_id());
  EXPECT_EQ("<pad>", t.piece(0));
  EXPECT_EQ("<unk>", t.piece(1));
  EXPECT_EQ("<s>", t.piece(2));
  EXPECT_EQ("</s>", t.piece(3));
  EXPECT_TRUE(t.is_control(0) && !t.is_control(1) && t.is_control(2) && t.is_control(3) && !t.is_control(4));
}

TEST_P(EveryType, SamplesFromSeedAndTextAloneOnAnyThread) {
  const auto t = sample_tokenizer(GetParam());
  const auto text = sample_text();
  const auto sample_all = [&](size_t from) {
    std::vector<std::vector<int32_t>> out(text.size());
    for (size_t k = 0; k < text.size(); ++k) {
      const size_t line = (k + from) % text.size();
      out[line] = t.encode_sampled(text[line], {.alpha = 0.2f, .seed = 0x100000000ull * 7 + line});
    }
    return out;
  };
  const auto expected = sample_all(0);
  std::vector<std::vector<std::vector<int32_t>>> found(4);
  std::vector<std::thread> threads;
  for (size_t k = 0; k < found.size(); ++k) {
    threads.emplace_back([&, k] { found[k] = sample_all(17 * k); });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& each : found) EXPECT_EQ(expected, each);

  size_t differing = 0;
  for (size_t k = 0; k < text.size(); ++k) {
    EXPECT_EQ(text[k], t.decode(expected[k]));
    differing += expected[k] != t.encode(text[k]);
  }
  EXPECT_GT(differing, text.size() / 4);
}

TEST(Tokenizer, SamplesOtherwiseWithAnotherSeedInEitherHalf) {
  const auto t = sample_tokenizer();
  std::set<std::vector<int32_t>> low, high;
  for (uint64_t k = 0; k < 32; ++k) {
    low.insert(t.encode_sampled(sample_text()[0], {.alpha = 0.1f, .seed = k}));
    high.insert(t.encode_sampled(sample_text()[0], {.alpha = 0.1f, .seed = k << 32}));
  }
  EXPECT_GT(low.size(), 1u);
  EXPECT_GT(high.size(), 1u);
}

TEST(Tokenizer, MakesNothingOfBlankText) {
  const auto t = sample_tokenizer();
  for (const auto& blank : {""s, " "s, "   "s, "\t"s, "\u00A0"s, "\u3000"s})
    EXPECT_THAT(t.encode(blank), IsEmpty());
  EXPECT_EQ("", t.decode({}));
}

TEST(Tokenizer, DecodesWithoutControlIds) {
  const auto t = sample_tokenizer();
  auto ids = t.encode("the old man");
  ids.insert(ids.begin(), {t.bos_id(), t.pad_id()});
  ids.insert(ids.begin() + 3, t.pad_id());
  ids.insert(ids.end(), {t.eos_id(), t.pad_id(), t.pad_id()});
  EXPECT_EQ("the old man", t.decode(ids));
}

TEST(Tokenizer, RefusesIdsOutsideTheVocabulary) {
  const auto t = sample_tokenizer();
  EXPECT_EQ("id 50 is outside of the 50 pieces of sample", refusal([&] { t.piece(50); }));
  EXPECT_EQ("id -1 is outside of the 50 pieces of sample",
            refusal([&] { t.decode(std::vector<int32_t>{5, -1}); }));
}

TEST(Tokenizer, MapsPiecesToIdsAndBack) {
  const auto t = sample_tokenizer();
  for (int32_t id = 0; id < t.size(); ++id) EXPECT_EQ(id, t.id(t.piece(id)));
  EXPECT_EQ(t.unk_id(), t.id("no such piece"));
  EXPECT_THAT(t.encode("Ω"), Contains(t.unk_id()));
}

// Row 12.
TEST(Tokenizer, TakesInvalidUtf8AndGivesValidUtf8) {
  auto options = sample_training();
  options.byte_fallback = true;
  options.vocabulary_size = 305;
  const auto t = Tokenizer::from_bytes(train_tokenizer(options), "bytes");
  EXPECT_EQ(t.encode("the \uFFFD dog"), t.encode("the \xE4\xBD dog"));
  // A partial character: the first two of the three bytes of 你.
  const auto partial = t.decode(std::vector<int32_t>{t.id("<0xE4>"), t.id("<0xBD>")});
  EXPECT_TRUE(is_valid_utf8(partial));
  EXPECT_THAT(partial, HasSubstr("\uFFFD"));
  for (int32_t a = 0; a < t.size(); ++a) ASSERT_TRUE(is_valid_utf8(t.decode(std::vector<int32_t>{a, a, 5})));
}

TEST(Tokenizer, FallsBackToBytes) {
  auto options = sample_training();
  options.byte_fallback = true;
  options.vocabulary_size = 305;
  const auto t = Tokenizer::from_bytes(train_tokenizer(options), "bytes");
  EXPECT_TRUE(t.has_byte_fallback());
  EXPECT_FALSE(sample_tokenizer().has_byte_fallback());
  const auto ids = t.encode("the 你 dog");
  EXPECT_THAT(ids, Not(Contains(t.unk_id())));
  EXPECT_EQ("the 你 dog", t.decode(ids));
}

TEST(Tokenizer, KeepsUserSymbolsWhole) {
  auto options = sample_training();
  options.user_symbols = {"<ph>", "a,b\"c", "<2de>"};
  const auto t = Tokenizer::from_bytes(train_tokenizer(options), "symbols");
  EXPECT_EQ(4, t.id("<ph>"));
  EXPECT_EQ(5, t.id("a,b\"c"));
  EXPECT_EQ(6, t.id("<2de>"));
  EXPECT_THAT(t.encode("the<ph>dog a,b\"c"), testing::IsSupersetOf({4, 5}));
}

TEST(Tokenizer, LoadsFromFileAndKeepsItsBytes) {
  TempFiles files;
  const std::string bytes = train_tokenizer(sample_training());
  const std::string path = files.write("m.model", bytes);
  const auto t = Tokenizer::load(path);
  EXPECT_EQ(bytes, t.bytes());
  EXPECT_EQ(sample_tokenizer().encode("two children"), t.encode("two children"));
  const std::string missing = files.path("none");
  EXPECT_EQ("cannot open " + missing + ": No such file or directory",
            refusal([&] { Tokenizer::load(missing); }));
}

TEST(Tokenizer, PrintsNothing) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  auto options = sample_training();
  options.lines.emplace_back(5000, 'x');
  const auto t = Tokenizer::from_bytes(train_tokenizer(options), "m");
  t.encode("the dog");
  options.vocabulary_size = 100000;
  refusal([&] { train_tokenizer(options); });
  refusal([&] { Tokenizer::from_bytes("rubbish", "m"); });
  EXPECT_EQ("", testing::internal::GetCapturedStderr());
  EXPECT_EQ("", testing::internal::GetCapturedStdout());
}

TEST_P(EveryType, TrainsTheLargestVocabularyThatItNames) {
  auto options = sample_training(GetParam());
  options.vocabulary_size = 100000;
  const std::string message = refusal([&] { train_tokenizer(options); });
  const std::string words = "a vocabulary of 100000 is too large for this text: the largest possible is ";
  ASSERT_EQ(0u, message.find(words)) << message;
  options.vocabulary_size = std::stoi(message.substr(words.size()));
  EXPECT_EQ(options.vocabulary_size, Tokenizer::from_bytes(train_tokenizer(options), "largest").size());
}

TEST_P(EveryType, TrainsTheSmallestVocabularyThatItNames) {
  auto options = sample_training(GetParam());
  options.vocabulary_size = 7;
  const std::string message = refusal([&] { train_tokenizer(options); });
  const std::string words =
      "a vocabulary of 7 is too small: the special pieces and the characters of this text need ";
  ASSERT_EQ(0u, message.find(words)) << message;
  options.vocabulary_size = std::stoi(message.substr(words.size()));
  EXPECT_EQ(options.vocabulary_size, Tokenizer::from_bytes(train_tokenizer(options), "smallest").size());
}

TEST(TokenizerTraining, RefusesOptionsOutOfRange) {
  const auto refused = [](auto change) {
    auto options = sample_training();
    change(options);
    return refusal([&] { train_tokenizer(options); });
  };
  EXPECT_EQ("character coverage 0.5 is outside of 0.98 to 1",
            refused([](auto& o) { o.character_coverage = 0.5; }));
  EXPECT_EQ("the user-defined symbol \"<s>\" is already taken",
            refused([](auto& o) { o.user_symbols = {"<s>"}; }));
  EXPECT_EQ("the user-defined symbol \"x\" is already taken",
            refused([](auto& o) { o.user_symbols = {"x", "x"}; }));
  EXPECT_EQ("the user-defined symbol \"a b\" is empty, holds white space or is not valid UTF-8",
            refused([](auto& o) { o.user_symbols = {"a b"}; }));
  EXPECT_EQ("a vocabulary of 200 has no room beside its 260 special, byte and user-defined pieces",
            refused([](auto& o) { o.byte_fallback = true, o.vocabulary_size = 200; }));
  EXPECT_EQ("a vocabulary of -5 has no room beside its 4 special, byte and user-defined pieces",
            refused([](auto& o) { o.vocabulary_size = -5; }));
}

// Each of these ends the process inside the library when it is let through.
TEST_P(EveryType, RefusesTextThatTeachesNothing) {
  for (const auto& line : {""s, " "s, "\u00A0"s, "\x01\x02"s, "\0"s, "\xFF\xFE"s, "\u2581"s, "\u200B"s,
                           "\u2585"s, std::string(5000, 'x')}) {
    EXPECT_EQ("no line of the text teaches a tokenizer anything: all are blank or too long", refusal([&] {
                train_tokenizer({.lines = {line, line}, .vocabulary_size = 20, .type = GetParam()});
              }));
  }
}

TEST_P(EveryType, TinyTextsTrainOrAreRefused) {
  for (const auto& line :
       {"a"s, "aa"s, "ab"s, "a\0b"s, "\u00A8"s, "你"s, "\U0001F600"s, "a a a a"s, "abcabcabc"s}) {
    for (const int copies : {1, 2, 5}) {
      for (const int size : {5, 6, 7, 8, 12}) {
        const TokenizerTraining options{.lines = std::vector<std::string>(static_cast<size_t>(copies), line),
                                        .vocabulary_size = size,
                                        .type = GetParam()};
        std::string model;
        const std::string message = refusal([&] { model = train_tokenizer(options); });
        if (model.empty()) {
          EXPECT_THAT(message, AnyOf(HasSubstr("too large"), HasSubstr("too small"))) << line << " " << size;
        } else {
          EXPECT_EQ(size, Tokenizer::from_bytes(model, "tiny").size());
        }
      }
    }
  }
}

TEST(TokenizerTraining, ReadsFilesAsItReadsLines) {
  TempFiles files;
  std::string text = "\xEF\xBB\xBF";
  for (const auto& line : sample_text()) text += line + "\r\n";
  auto options = sample_training();
  const std::string expected = train_tokenizer(options);
  options.lines.clear();
  options.files = {files.write("text", text)};
  EXPECT_EQ(expected, train_tokenizer(options));
}

TEST(TokenizerTraining, ChoosesLinesBySeed) {
  auto options = sample_training();
  options.max_lines = 60;
  options.vocabulary_size = 45;
  options.seed = 1;
  const std::string one = train_tokenizer(options);
  EXPECT_EQ(one, train_tokenizer(options));
  options.seed = 2;
  EXPECT_NE(one, train_tokenizer(options));
}

TEST(TokenizerTraining, LearnsARealCorpus) {
  const std::string path = FLOE_SOURCE_DIR "/../shared/data/multi30k-en-de/val.de";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "absent: shared/data/multi30k-en-de/val.de";
  const auto t = Tokenizer::from_bytes(train_tokenizer({.files = {path}, .vocabulary_size = 800}), "de");
  for (const auto& line : read_lines(path)) EXPECT_THAT(t.encode(line), Not(Contains(t.unk_id())));
}

}  // namespace
}  // namespace floe
