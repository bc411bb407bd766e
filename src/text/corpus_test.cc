#include "text/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "text/counter_random.h"
#include "text/temp_files_for_test.h"
#include "text/tokenizer.h"
#include "text/tokenizer_train.h"

namespace floe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> words() {
  return {"red apples and green pears", "green apples", "red pears", "apples and pears and plums",
          "blue plums"};
}

const Tokenizer& tokenizer() {
  static const auto* const t = new Tokenizer(Tokenizer::from_bytes(
      train_tokenizer({.lines = words(), .vocabulary_size = 30, .type = TokenizerType::bpe}), "words"));
  return *t;
}

std::string repeat(const std::string& line, int count) {
  std::string out;
  for (int k = 0; k < count; ++k) out += line + "\n";
  return out;
}

class CorpusTest : public testing::Test {
 protected:
  Corpus load(const std::vector<CorpusPart>& parts, const CorpusOptions& options = {}) const {
    return Corpus(parts, tokenizer(), tokenizer(), options);
  }
  CorpusPart part(const std::string& name, const std::string& source, const std::string& target,
                  double weight = 1.0) const {
    return {.source = files_.write(name + ".s", source),
            .target = files_.write(name + ".t", target),
            .weight = weight};
  }
  TempFiles files_;
};

// Rows 2 and 9.
TEST_F(CorpusTest, SkipsAndCountsBlankSidesAndStaysInStep) {
  const auto corpus =
      load({part("c", "red\n\ngreen\n \t\nblue\nplums\n", "pears\napples\n\u00A0\n\nplums\nred")});
  ASSERT_EQ(2u + 1u, corpus.size());
  const auto& t = tokenizer();
  EXPECT_EQ("red", t.decode(corpus.source(0)));
  EXPECT_EQ("pears", t.decode(corpus.target(0)));
  EXPECT_EQ("blue", t.decode(corpus.source(1)));
  EXPECT_EQ("plums", t.decode(corpus.target(1)));
  EXPECT_EQ("plums", t.decode(corpus.source(2)));
  EXPECT_EQ("red", t.decode(corpus.target(2)));
  EXPECT_EQ(5u, corpus.line(1));
  const auto& report = corpus.report().parts.at(0);
  EXPECT_EQ(6u, report.lines);
  EXPECT_EQ(3u, report.kept);
  EXPECT_EQ(3u, report.blank);
  EXPECT_EQ(0u, report.too_long);
  EXPECT_THAT(corpus.report().warnings, IsEmpty());
  EXPECT_THAT(corpus.report().text(), HasSubstr("6 pairs, 3 kept"));
}

TEST_F(CorpusTest, CountsAPairWhoseTokensVanishAsBlank) {
  // The space mark alone is normalised away.
  const auto corpus = load({part("c", "\u2581\nred\n", "red\nred\n")});
  EXPECT_EQ(1u, corpus.size());
  EXPECT_EQ(1u, corpus.report().parts[0].blank);
}

// Row 1.
TEST_F(CorpusTest, TruncatesOverlongPairsAndNamesTheFirst) {
  std::string source, target;
  for (int k = 1; k <= 3000; ++k) {
    source += "red";
    if (k == 581 || k == 600) {
      for (int w = 0; w < 500; ++w) source += " apples";
    }
    source += '\n';
    target += "pears\n";
  }
  const auto p = part("c", source, target);
  const auto kept =
      load({p}, {.max_source_tokens = 40, .max_target_tokens = 50, .long_pairs = LongPairs::truncate});
  EXPECT_EQ(3000u, kept.size());
  EXPECT_EQ(40u, kept.source(580).size());
  EXPECT_EQ("red", tokenizer().decode(kept.source(2999)));
  EXPECT_EQ(2u, kept.report().parts[0].truncated);
  EXPECT_EQ(0u, kept.report().parts[0].too_long);
  EXPECT_THAT(kept.report().warnings,
              ElementsAre(p.source + " + " + p.target +
                          ": 2 pairs are longer than 40 source or 50 target tokens and "
                          "were truncated, the first on line 581"));
  const auto skipped =
      load({p}, {.max_source_tokens = 40, .max_target_tokens = 50, .long_pairs = LongPairs::skip});
  EXPECT_EQ(2998u, skipped.size());
  EXPECT_EQ(2u, skipped.report().parts[0].too_long);
  EXPECT_THAT(skipped.report().warnings.at(0), HasSubstr("were skipped, the first on line 581"));
}

TEST_F(CorpusTest, KeepsAPairAtTheLimit) {
  const auto length = static_cast<uint32_t>(tokenizer().encode("red apples and").size());
  const auto p = part("c", "red apples and\n", "red\n");
  EXPECT_EQ(1u, load({p}, {.max_source_tokens = length}).size());
  EXPECT_EQ(1u, load({p}, {.max_source_tokens = length - 1, .long_pairs = LongPairs::truncate})
                    .report()
                    .parts[0]
                    .truncated);
}

// Row 10.
TEST_F(CorpusTest, RefusesFilesOutOfStep) {
  const auto p = part("c", "red\ngreen\n", "red\n");
  EXPECT_EQ("source and target do not have the same number of lines: " + p.source + " has 2, " + p.target +
                " has 1",
            refusal([&] { load({p}); }));
}

// Row 8: CRLF on one side changes nothing; a text in other letters is told.
TEST_F(CorpusTest, ReadsCrlfAndWarnsOfUnknownText) {
  const auto plain = load({part("c", "red pears\nblue plums\n", "red\nblue\n")});
  const auto crlf = load({part("d", "red pears\r\nblue plums\r\n", "red\r\nblue\r\n")});
  for (size_t k = 0; k < 2; ++k) {
    EXPECT_TRUE(std::ranges::equal(plain.source(k), crlf.source(k)));
    EXPECT_TRUE(std::ranges::equal(plain.target(k), crlf.target(k)));
  }
  const auto foreign = load({part("e", "red\nblue\n", "МОСКВА\nКИЕВ\n")});
  ASSERT_EQ(1u, foreign.report().warnings.size());
  EXPECT_THAT(foreign.report().warnings[0], HasSubstr(", target side: "));
  EXPECT_THAT(foreign.report().warnings[0], HasSubstr("in the first 2 lines are unknown to the vocabulary"));
}

// Row 12.
TEST_F(CorpusTest, TakesInvalidUtf8) {
  const auto corpus = load({part("c", "red \xFF\xC3\npears\n", "red\npears\n")});
  EXPECT_EQ(2u, corpus.size());
  EXPECT_EQ(2u, corpus.line(1));
}

TEST_F(CorpusTest, MixesTablesAndFiles) {
  CorpusPart table{.tsv = files_.write("t.tsv", "id\tred\tgreen\nid\tblue\tplums\n"), .columns = {2, 3}};
  const auto corpus = load({part("c", "pears\n", "apples\n"), table}, {.keep_text = true});
  ASSERT_EQ(3u, corpus.size());
  EXPECT_EQ(0u, corpus.part(0));
  EXPECT_EQ(1u, corpus.part(2));
  EXPECT_EQ(2u, corpus.line(2));
  EXPECT_EQ("plums", tokenizer().decode(corpus.target(2)));
  EXPECT_THAT(corpus.source_text(), ElementsAre("pears", "red", "blue"));
  EXPECT_THAT(corpus.target_text(), ElementsAre("apples", "green", "plums"));
  EXPECT_EQ(table.tsv + " (2, 3)", corpus.report().parts[1].name);
}

TEST_F(CorpusTest, RefusesBadParts) {
  EXPECT_EQ("no corpus is given", refusal([&] { load({}); }));
  EXPECT_EQ(
      "a corpus is either a source and a target file or one tab-separated file; given: source \"a\", target "
      "\"\", tsv \"\"",
      refusal([&] { load({{.source = "a"}}); }));
  EXPECT_THAT(refusal([&] { load({{.source = "a", .target = "b", .tsv = "c"}}); }), HasSubstr("tsv \"c\""));
  EXPECT_THAT(refusal([&] { load({{}}); }), HasSubstr("source \"\", target \"\", tsv \"\""));
  EXPECT_EQ("corpus a + b: weight 0 is not above 0 and at most 1000",
            refusal([&] { load({{.source = "a", .target = "b", .weight = 0}}); }));
  EXPECT_THAT(refusal([&] { load({part("c", "\n", "red\n")}); }),
              HasSubstr("no usable pair is left in the corpus"));
}

TEST_F(CorpusTest, OrderIsAPureFunctionOfSeedAndEpoch) {
  const auto p = part("c", repeat("red", 200), repeat("pears", 200));
  const auto corpus = load({p});
  const auto order = corpus.epoch_order(1, 0);
  EXPECT_EQ(order, corpus.epoch_order(1, 0));
  EXPECT_EQ(order, load({p}).epoch_order(1, 0));
  EXPECT_NE(order, corpus.epoch_order(1, 1));
  EXPECT_NE(order, corpus.epoch_order(2, 0));
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (uint32_t k = 0; k < 200; ++k) EXPECT_EQ(k, sorted[k]);
}

TEST_F(CorpusTest, DrawsEachPairAsOftenAsItsWeightSays) {
  const auto corpus = load({part("a", repeat("red", 400), repeat("red", 400), 2.0),
                            part("b", repeat("blue", 400), repeat("blue", 400), 1.25),
                            part("c", repeat("green", 400), repeat("green", 400), 0.5)});
  std::map<size_t, uint64_t> drawn;
  constexpr int kEpochs = 50;
  for (uint64_t epoch = 0; epoch < kEpochs; ++epoch) {
    std::map<uint32_t, int> times;
    for (const uint32_t pair : corpus.epoch_order(9, epoch)) {
      ++times[pair];
      ++drawn[corpus.part(pair)];
    }
    for (uint32_t pair = 0; pair < corpus.size(); ++pair) {
      const int low = corpus.part(pair) == 0 ? 2 : corpus.part(pair) == 1 ? 1 : 0;
      const int high = corpus.part(pair) == 0 ? 2 : low + 1;
      ASSERT_TRUE(times[pair] >= low && times[pair] <= high);
    }
  }
  // Within five standard deviations of sums of independent draws.
  constexpr double kDraws = 400.0 * kEpochs;
  EXPECT_EQ(800u * kEpochs, drawn[0]);
  EXPECT_NEAR(1.25 * kDraws, drawn[1], 5 * std::sqrt(kDraws * 0.25 * 0.75));
  EXPECT_NEAR(0.5 * kDraws, drawn[2], 5 * std::sqrt(kDraws * 0.25));
}

TEST(CounterRandom, KeepsItsNumbersForEver) {
  // SplitMix64's published first output for seed 0.
  EXPECT_EQ(0xE220A8397B1DCDAFu, internal::mix(0));
  // The order comes from the same algorithm written in Python.
  std::vector<int> items{0, 1, 2, 3, 4, 5, 6, 7};
  counter_shuffle(std::span(items), {.seed = 1, .epoch = 2});
  EXPECT_THAT(items, ElementsAre(2, 0, 7, 3, 1, 6, 4, 5));
}

TEST(CounterRandom, ShufflesEvenly) {
  // Where item 0 of 5 lands, over 5000 keys: each place about 1000 times, five standard deviations allowed.
  int places[5] = {};
  for (uint64_t epoch = 0; epoch < 5000; ++epoch) {
    std::vector<int> items{0, 1, 2, 3, 4};
    counter_shuffle(std::span(items), {.seed = 3, .epoch = epoch});
    ++places[std::find(items.begin(), items.end(), 0) - items.begin()];
  }
  for (const int count : places) EXPECT_NEAR(1000, count, 5 * std::sqrt(5000 * 0.2 * 0.8));
}

}  // namespace
}  // namespace floe
