#include "translate/stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/temp_files_for_test.h"
#include "translate/fake_decoder_for_test.h"

namespace floe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::function<bool(std::string&)> lines_of(const std::vector<std::string>& lines) {
  return [lines, next = size_t{0}](std::string& line) mutable {
    if (next == lines.size()) return false;
    line = lines[next++];
    return true;
  };
}

struct Stream {
  FakeDecoder decoder;
  ModelText text = letter_text();
  std::vector<std::string> warnings, texts;
  std::vector<uint64_t> numbers;
  int chunks = 0;

  StreamReport operator()(const StreamInput& input, const StreamLimits& limits = {}) {
    Translator translator(text, decoder, {}, [this](const std::string& w) { warnings.push_back(w); });
    return translate_stream(
        translator, input,
        [this](const TranslatedLine& line) {
          texts.push_back(line.translation.text());
          numbers.push_back(line.number);
        },
        [this] { ++chunks; }, limits);
  }
};

TEST(Stream, GivesEveryLineInOrderWhateverTheChunks) {
  std::vector<std::string> lines;
  const std::vector<std::string> words = {"a", "b c", "", "d d d", " ", "c"};
  for (int i = 0; i < 3000; ++i) lines.push_back(words[static_cast<size_t>(i * 7 % 6)]);
  std::vector<std::string> expected = lines;
  for (auto& line : expected) line = line == " " ? "" : line;
  std::string long_line = "a";
  for (int i = 0; i < 400; ++i) long_line += " b";
  lines[580] = long_line;
  expected[580] = "a b b b b b b b b b b b b b b";
  for (const StreamLimits limits :
       {StreamLimits{}, StreamLimits{.lines = 7}, StreamLimits{.lines = 1 << 20, .bytes = 1}}) {
    Stream stream;
    const StreamReport report = stream({lines_of(lines)}, limits);
    EXPECT_EQ(report.lines, 3000u);
    EXPECT_EQ(report.failed, 0u);
    EXPECT_EQ(stream.texts, expected);
    EXPECT_EQ(stream.numbers.front(), 1u);
    EXPECT_EQ(stream.numbers.back(), 3000u);
    ASSERT_EQ(stream.warnings.size(), 1u);
    EXPECT_THAT(stream.warnings[0], HasSubstr("line 581 "));
  }
}

TEST(Stream, HoldsAChunkAtMost) {
  Stream stream;
  size_t held = 0, most = 0;
  FakeDecoder decoder;
  Translator translator(letter_text(), decoder, {}, [](const std::string&) {});
  int left = 1000;
  translate_stream(translator, {[&](std::string& line) {
                     line = "a";
                     most = std::max(most, ++held);
                     return left-- > 0;
                   }},
                   [&](const TranslatedLine&) { --held; }, {}, {.lines = 10});
  EXPECT_LE(most, 11u);
}

TEST(Stream, OfAnEmptyFileIsEmpty) {
  Stream stream;
  EXPECT_EQ(stream({lines_of({})}).lines, 0u);
  EXPECT_EQ(stream.decoder.calls, 0);
}

TEST(Stream, CountsLinesThatFailed) {
  Stream stream;
  stream.decoder.unbearable = 7;
  const StreamReport report = stream({lines_of({"a", "d", "b", "d"})}, {.lines = 2});
  EXPECT_EQ(report.failed, 2u);
  EXPECT_EQ(report.first_failed, 2u);
  EXPECT_THAT(stream.texts, ElementsAre("a", "", "b", ""));
}

TEST(Stream, KeepsPrefixesInStepOverChunks) {
  Stream stream;
  stream({lines_of({"a", "", "b", "c"}), lines_of({"", "d", "b", "c"})}, {.lines = 2});
  ASSERT_EQ(stream.decoder.seen.size(), 3u);
  EXPECT_THAT(stream.decoder.seen[1].prefix, ElementsAre(5));
  EXPECT_THAT(stream.decoder.seen[2].prefix, ElementsAre(6));
}

TEST(Stream, RefusesPrefixesThatEndEarlyOrLate) {
  Stream stream;
  EXPECT_EQ(refusal([&] { stream({lines_of({"a", "b"}), lines_of({"a"})}); }),
            "the prefixes end after line 1, but the lines go on");
  EXPECT_EQ(refusal([&] { stream({lines_of({"a"}), lines_of({"a", "b"})}); }),
            "the lines end after line 1, but the prefixes go on");
}

}  // namespace
}  // namespace floe
