#include "text/lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdio>

#include "base/error.h"
#include "text/temp_files_for_test.h"
#include "text/utf8.h"

namespace floe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using std::string_literals::operator""s;

std::vector<std::string> lines_of(std::string_view bytes) {
  TempFiles files;
  return read_lines(files.write("text", bytes));
}

std::string gzip(std::string_view bytes) {
  z_stream stream{};
  EXPECT_EQ(Z_OK, deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY));
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(Z_STREAM_END, deflate(&stream, Z_FINISH));
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// About `count` lines that do not pack well.
std::string many_lines(int count) {
  std::string text;
  uint64_t state = 1;
  for (int k = 0; k < count; ++k) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    text += fmt::format("{} line {:x} über\n", k, state);
  }
  return text;
}

TEST(Lines, OnlyLfEndsALine) {
  EXPECT_THAT(lines_of("a\nb\xE2\x80\xA8"
                       "c\vd\fe\xC2\x85"
                       "f\rg\xE2\x80\xA9h\n"),
              ElementsAre("a",
                          "b\xE2\x80\xA8"
                          "c\vd\fe\xC2\x85"
                          "f\rg\xE2\x80\xA9h"));
}

TEST(Lines, DropsOneCarriageReturnBeforeTheLineEnd) {
  EXPECT_THAT(lines_of("a\r\nb\r\r\n\r\nc\r"), ElementsAre("a", "b\r", "", "c"));
}

TEST(Lines, CountsALastLineWithoutLineEnd) {
  EXPECT_THAT(lines_of("a\nb"), ElementsAre("a", "b"));
  EXPECT_THAT(lines_of("a\nb\n"), ElementsAre("a", "b"));
  EXPECT_THAT(lines_of("\n\n"), ElementsAre("", ""));
}

TEST(Lines, FindsNoLineInAnEmptyFile) {
  EXPECT_THAT(lines_of(""), IsEmpty());
  EXPECT_THAT(lines_of("\xEF\xBB\xBF"), IsEmpty());
}

TEST(Lines, DropsAByteOrderMarkAtTheStartOnly) {
  EXPECT_THAT(lines_of("\xEF\xBB\xBFx\n\xEF\xBB\xBFy\n"), ElementsAre("x", "\xEF\xBB\xBFy"));
}

TEST(Lines, KeepsNulBytes) { EXPECT_THAT(lines_of("a\0b\n\0\n"s), ElementsAre("a\0b"s, "\0"s)); }

// Row 12: the examples of the Unicode Standard, section 3.9, table 3-8, and of a sequence cut by a line end.
TEST(Lines, MakesInvalidUtf8AReplacementCharacter) {
  EXPECT_THAT(lines_of("a\xF1\x80\x80\xE1\x80\xC2"
                       "b\x80"
                       "c\x80\xBF"
                       "d\n"),
              ElementsAre("a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd"));
  EXPECT_THAT(lines_of("\xE4\xBD\n\xA0\n"), ElementsAre("\uFFFD", "\uFFFD"));
}

TEST(Lines, RefusesInvalidUtf8WhereThatIsAskedFor) {
  const TempFiles files;
  const std::string path = files.write("text", "\xC3\xA4\nb \xC3(\nc\n");
  EXPECT_EQ(read_lines(path).size(), 3u);
  EXPECT_EQ(refusal([&] { read_lines(path, InvalidUtf8::refuse); }), path + ": line 2 is not valid UTF-8");
  const std::string good = files.write("good", "a\nb\nc\n");
  EXPECT_EQ(refusal([&] { read_pairs(good, path, InvalidUtf8::refuse); }),
            path + ": line 2 is not valid UTF-8");
}

TEST(Utf8, ReplacesAsTheWhatwgDecoderDoes) {
  EXPECT_EQ("\uFFFD\uFFFD", replace_invalid_utf8("\xC0\xAF"));                      // overlong
  EXPECT_EQ("\uFFFD\uFFFD\uFFFD", replace_invalid_utf8("\xED\xA0\x80"));            // surrogate
  EXPECT_EQ("\uFFFD\uFFFD\uFFFD\uFFFD", replace_invalid_utf8("\xF4\x91\x92\x93"));  // above U+10FFFF
  EXPECT_EQ(
      "\uFFFD"
      "A",
      replace_invalid_utf8("\xF0\x9F\x98"
                           "A"));
  EXPECT_EQ("h\u00e9\u4f60\U0001F600", replace_invalid_utf8("h\u00e9\u4f60\U0001F600"));
  EXPECT_TRUE(is_valid_utf8("a\0\u00e9"s));
  EXPECT_FALSE(is_valid_utf8("a\xFF"));
  EXPECT_FALSE(is_valid_utf8("\xE4\xBD"));
}

TEST(Lines, KeepsLinesThatCrossBlocks) {
  std::vector<std::string> expected;
  std::string text;
  for (const size_t length : {65535, 1, 65536, 0, 65537, 200000}) {
    expected.emplace_back(length, static_cast<char>('a' + expected.size()));
    text += expected.back() + "\r\n";
  }
  EXPECT_EQ(expected, lines_of(text));
}

TEST(Lines, NumbersLinesFromOne) {
  TempFiles files;
  LineReader reader(files.write("text", "x\ny\n"));
  std::string line;
  EXPECT_EQ(0u, reader.line_number());
  ASSERT_TRUE(reader.next(line));
  ASSERT_TRUE(reader.next(line));
  EXPECT_EQ(2u, reader.line_number());
  EXPECT_FALSE(reader.next(line));
  EXPECT_FALSE(reader.next(line));
  EXPECT_EQ(2u, reader.line_number());
  EXPECT_EQ("", line);
}

TEST(Lines, KnowsGzipByItsFirstBytesNotItsName) {
  TempFiles files;
  const std::string text = many_lines(20000);
  const auto plain = read_lines(files.write("plain.gz", text));
  EXPECT_EQ(20000u, plain.size());
  EXPECT_EQ(plain, read_lines(files.write("packed.txt", gzip(text))));
  EXPECT_THAT(read_lines(files.write("mark", gzip("\xEF\xBB\xBFx\r\n"))), ElementsAre("x"));
  EXPECT_THAT(read_lines(files.write("empty.gz", gzip(""))), IsEmpty());
}

TEST(Lines, ReadsGzipMembersOneAfterTheOther) {
  TempFiles files;
  const std::string path = files.write("two.gz", gzip("a\nb") + gzip("c\nd\n") + std::string(100, '\0'));
  EXPECT_THAT(read_lines(path), ElementsAre("a", "bc", "d"));
}

TEST(Lines, RefusesGzipCutAtAnyByte) {
  TempFiles files;
  const std::string packed = gzip(many_lines(20));
  for (size_t size = 2; size < packed.size(); ++size) {
    const std::string path = files.write("cut.gz", packed.substr(0, size));
    EXPECT_EQ(fmt::format("cannot read {}: the gzip data end early, at byte {}", path, size),
              refusal([&] { read_lines(path); }));
  }
}

TEST(Lines, RefusesDamagedGzipAndNamesTheByte) {
  TempFiles files;
  std::string packed = gzip(many_lines(5000));
  packed[packed.size() - 6] ^= 0x55;  // in the checksum, the last 8 bytes
  const std::string path = files.write("bad.gz", packed);
  const std::string message = refusal([&] { read_lines(path); });
  EXPECT_THAT(message, HasSubstr("cannot read " + path + ": damaged gzip data at byte "));
  EXPECT_THAT(message, HasSubstr("incorrect data check"));
  const std::string tail = files.write("tail.gz", gzip("a\n") + "rubbish");
  EXPECT_THAT(refusal([&] { read_lines(tail); }),
              HasSubstr(fmt::format("at byte {}: not the start of a gzip member", gzip("a\n").size())));
}

TEST(Lines, NamesAFileThatCannotBeRead) {
  TempFiles files;
  const std::string missing = files.path("none.txt");
  EXPECT_EQ("cannot open " + missing + ": No such file or directory", refusal([&] { read_lines(missing); }));
  const std::string folder = files.path("");
  EXPECT_EQ("cannot read " + folder + ": it is a folder", refusal([&] { read_lines(folder); }));
  try {
    read_lines(missing);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(ErrorKind::io, error.kind());
  }
}

TEST(Lines, ReadsStandardInput) {
  TempFiles files;
  const std::string path = files.write("in", gzip("a\nb\n"));
  const int saved = ::dup(STDIN_FILENO);
  std::FILE* file = std::fopen(path.c_str(), "rb");
  ASSERT_NE(nullptr, file);
  ::dup2(::fileno(file), STDIN_FILENO);
  std::fclose(file);
  const auto lines = read_lines("-");
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  EXPECT_THAT(lines, ElementsAre("a", "b"));
}

// Row 10.
TEST(Pairs, RefusesDifferentLineCountsWithBothNamesAndCounts) {
  TempFiles files;
  const std::string source = files.write("s", "a\nb\nc\n");
  const std::string target = files.write("t", "x\ny\n");
  EXPECT_EQ(
      "source and target do not have the same number of lines: " + source + " has 3, " + target + " has 2",
      refusal([&] { read_pairs(source, target); }));
}

TEST(Pairs, StayInStepAroundOddSeparatorsAndBlankLines) {
  TempFiles files;
  const auto pairs = read_pairs(files.write("s", "a\u2028b\n\nc\vd\r\n"), files.write("t", "x\r\ny\nz"));
  EXPECT_THAT(pairs.source, ElementsAre("a\u2028b", "", "c\vd"));
  EXPECT_THAT(pairs.target, ElementsAre("x", "y", "z"));
}

TEST(Pairs, CannotBothComeFromStandardInput) {
  EXPECT_EQ("source and target cannot both be standard input", refusal([] { read_pairs("-", "-"); }));
}

TEST(TsvPairs, TakesTheColumnsAskedFor) {
  TempFiles files;
  const std::string path = files.write("p.tsv", "1\ta\tx\textra\r\n2\t\ty\r\n");
  const auto pairs = read_tsv_pairs(path, {.source = 3, .target = 2});
  EXPECT_THAT(pairs.source, ElementsAre("x", "y"));
  EXPECT_THAT(pairs.target, ElementsAre("a", ""));
}

TEST(TsvPairs, RefusesALineWithTooFewColumns) {
  TempFiles files;
  const std::string path = files.write("p.tsv", "a\tx\nb\n");
  EXPECT_EQ(path + ":2: 1 tab-separated column, but column 2 is asked for",
            refusal([&] { read_tsv_pairs(path, {}); }));
  EXPECT_EQ("columns of " + path + " count from 1: source 0, target 2",
            refusal([&] { read_tsv_pairs(path, {.source = 0}); }));
}

TEST(TsvPairs, ReadsARealCorpus) {
  const std::string path = FLOE_SOURCE_DIR "/../shared/data/tatoeba-en-zh/val.tsv";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "absent: shared/data/tatoeba-en-zh/val.tsv";
  const auto pairs = read_tsv_pairs(path, {});
  EXPECT_EQ(500u, pairs.source.size());
  EXPECT_EQ(500u, pairs.target.size());
}

// Row 2.
TEST(IsBlank, KnowsAllThatHasNoInk) {
  for (const auto& blank : {""s, " "s, "   "s, "\t"s, "\r"s, "\u00A0"s, "\u3000"s, "\u2028"s, "\u200B"s,
                            "\uFEFF"s, "\u200D\u2060 \u00AD"s, "\0"s, " \v\f\u0085 "s, "\u200E\u202A"s}) {
    EXPECT_TRUE(is_blank(blank)) << testing::PrintToString(blank);
  }
  for (const auto& ink :
       {"a"s, " . "s, "\u200B\u4f60"s, "\uFFFD"s, "\xFF"s, "\u2581"s, "\U0001F600"s, "\u0600"s}) {
    EXPECT_FALSE(is_blank(ink)) << testing::PrintToString(ink);
  }
}

// Row 1: a line of any length and content is one line, and what follows it is still read.
TEST(Lines, AnOverlongLineEndsNothing) {
  std::string text;
  for (int k = 1; k <= 3000; ++k) {
    for (int word = 0; word < (k == 581 ? 200000 : 3); ++word) text += "word ";
    text += '\n';
  }
  const auto lines = lines_of(text);
  ASSERT_EQ(3000u, lines.size());
  EXPECT_EQ(1000000u, lines[580].size());
  EXPECT_EQ("word word word ", lines[2999]);
}

}  // namespace
}  // namespace floe
