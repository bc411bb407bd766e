#include "train/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::HasSubstr;

struct TestPairs {
  IdSequences source, target;
  explicit TestPairs(size_t n, int longest = 40, unsigned seed = 1) {
    std::mt19937 engine(seed);
    for (size_t i = 0; i < n; ++i) {
      source.emplace_back(engine() % static_cast<unsigned>(longest), 0);
      target.emplace_back(engine() % static_cast<unsigned>(longest), 0);
      for (IdSequences* side : {&source, &target}) {
        for (int32_t& id : side->back()) id = static_cast<int32_t>(engine() % 100 + 10);
      }
    }
  }
  PairCorpus corpus() const { return pair_corpus(source, target); }
};

std::vector<std::vector<uint32_t>> epoch_of(Batches& batches, uint64_t epoch) {
  batches.seek({.epoch = epoch});
  std::vector<std::vector<uint32_t>> out;
  for (;;) {
    const BatchRef batch = batches.next();
    EXPECT_EQ(batch.at.epoch, epoch);
    out.emplace_back(batch.pairs.begin(), batch.pairs.end());
    if (batch.last_of_epoch) return out;
  }
}

TEST(Batches, AnEpochHoldsEveryPairOnceWithinTheBudget) {
  const TestPairs pairs(5'000);
  for (const bool closed : {false, true}) {
    Batches batches(pairs.corpus(), {.max_tokens = 800, .max_length = 40, .closed_shapes = closed});
    std::vector<int> seen(5'000, 0);
    int64_t tokens = 0;
    int64_t padded = 0;
    for (;;) {
      const BatchRef batch = batches.next();
      EXPECT_LE(static_cast<int64_t>(batch.pairs.size()), batch.shape.rows);
      EXPECT_LE(batch.shape.rows * std::max(batch.shape.source, batch.shape.target), 800);
      EXPECT_EQ(batch.shape.source % 8, 0);
      EXPECT_EQ(batch.shape.target % 8, 0);
      for (const uint32_t pair : batch.pairs) {
        ++seen[pair];
        tokens += static_cast<int64_t>(std::max(pairs.source[pair].size(), pairs.target[pair].size())) + 1;
      }
      padded += batch.shape.rows * std::max(batch.shape.source, batch.shape.target);
      if (batch.last_of_epoch) break;
    }
    EXPECT_EQ(seen, std::vector<int>(5'000, 1));
    EXPECT_EQ(batches.left_out(), 0);
    // Buckets of 8 waste less than 8 of a row's width; batches that are not full add little.
    EXPECT_GT(static_cast<double>(tokens) / static_cast<double>(padded), 0.8);
  }
}

TEST(Batches, AreAPureFunctionOfSeedAndEpoch) {
  const TestPairs pairs(1'000);
  const BatchOptions options{.max_tokens = 400, .seed = 7};
  Batches a(pairs.corpus(), options);
  Batches b(pairs.corpus(), options);
  const auto first = epoch_of(a, 1);
  const auto second = epoch_of(a, 2);
  EXPECT_NE(first, second);
  EXPECT_EQ(epoch_of(b, 2), second) << "an epoch depends on the one before it";
  EXPECT_EQ(epoch_of(b, 1), first);
  BatchOptions other = options;
  other.seed = 8;
  Batches c(pairs.corpus(), other);
  EXPECT_NE(epoch_of(c, 1), first);
}

// The order must not change between releases: resumed runs rely on it.
TEST(Batches, TheOrderOfASmallCorpusIsTheKnownOne) {
  const IdSequences ids(6, std::vector<int32_t>(3, 10));
  Batches batches(pair_corpus(ids, ids),
                  {.max_tokens = 16, .max_length = 8, .length_multiple = 4, .seed = 3});
  EXPECT_EQ(epoch_of(batches, 1), (std::vector<std::vector<uint32_t>>{{1, 3, 0, 5}, {2, 4}}));
}

TEST(Batches, BothSentencesAndBatchesAreShuffled) {
  IdSequences ids;
  for (int i = 0; i < 2'000; ++i) ids.emplace_back(static_cast<size_t>(i / 100), 10);  // sorted by length
  Batches batches(pair_corpus(ids, ids), {.max_tokens = 200, .length_multiple = 4});
  std::vector<int64_t> widths;
  int ascending_pairs = 0;
  int pairs = 0;
  for (const auto& batch : epoch_of(batches, 1)) {
    widths.push_back(static_cast<int64_t>(ids[batch[0]].size()));
    for (size_t i = 1; i < batch.size(); ++i, ++pairs) ascending_pairs += batch[i] > batch[i - 1];
  }
  EXPECT_FALSE(std::is_sorted(widths.begin(), widths.end()));
  // Half of neighbours ascend by chance; 0.4 and 0.6 are nine standard deviations away.
  EXPECT_GT(ascending_pairs, pairs * 4 / 10);
  EXPECT_LT(ascending_pairs, pairs * 6 / 10);
}

TEST(Batches, ARestoredPositionGivesTheSameBatchesAcrossTheEpochsEnd) {
  const TestPairs pairs(500);
  const BatchOptions options{.max_tokens = 300};
  Batches whole(pairs.corpus(), options);
  std::vector<std::vector<uint32_t>> all;
  std::vector<BatchPosition> positions;
  for (int i = 0; i < 150; ++i) {
    positions.push_back(whole.position());
    const BatchRef batch = whole.next();
    all.emplace_back(batch.pairs.begin(), batch.pairs.end());
  }
  EXPECT_GT(whole.position().epoch, 2u);
  for (size_t start = 0; start < all.size(); start += 7) {
    Batches resumed(pairs.corpus(), options);
    EXPECT_EQ(resumed.fingerprint(), whole.fingerprint());
    resumed.seek(positions[start]);
    for (size_t i = start; i < std::min(start + 20, all.size()); ++i) {
      const BatchRef batch = resumed.next();
      EXPECT_TRUE(std::equal(batch.pairs.begin(), batch.pairs.end(), all[i].begin(), all[i].end()))
          << start << " " << i;
    }
  }
}

TEST(Batches, AFilledBatchHoldsTheIdsTheEndsAndNothingElse) {
  const TestPairs pairs(200);
  Batches batches(pairs.corpus(), {.max_tokens = 400, .pad_id = 3, .start_id = 4, .eos_id = 5});
  for (int step = 0; step < 20; ++step) {
    const BatchRef batch = batches.next();
    const MicroBatch micro = batches.fill(batch);
    const BatchTensors& t = micro.tensors;
    ASSERT_EQ(t.source.shape(), (Shape{batch.shape.rows, batch.shape.source}));
    ASSERT_EQ(t.target_in.shape(), (Shape{batch.shape.rows, batch.shape.target}));
    ASSERT_EQ(t.target_out.shape(), t.target_in.shape());
    int64_t tokens = 0;
    for (int64_t row = 0; row < batch.shape.rows; ++row) {
      std::vector<int32_t> source = pairs.source[batch.pairs[static_cast<size_t>(row)]];
      const std::vector<int32_t>& target = pairs.target[batch.pairs[static_cast<size_t>(row)]];
      source.push_back(5);
      EXPECT_EQ(t.source_lengths.at(row), static_cast<double>(source.size()));
      EXPECT_EQ(t.ordinals.at(row), static_cast<double>(row));
      for (int64_t i = 0; i < batch.shape.source; ++i) {
        const int32_t expected = i < static_cast<int64_t>(source.size()) ? source[static_cast<size_t>(i)] : 3;
        EXPECT_EQ(t.source.as<int32_t>()[row * batch.shape.source + i], expected);
      }
      for (int64_t i = 0; i < batch.shape.target; ++i) {
        const auto n = static_cast<int64_t>(target.size());
        const int64_t at = row * batch.shape.target + i;
        EXPECT_EQ(t.target_out.as<int32_t>()[at], i < n ? target[static_cast<size_t>(i)] : i == n ? 5 : 3);
        EXPECT_EQ(t.target_in.as<int32_t>()[at], i == 0   ? 4
                                                 : i <= n ? target[static_cast<size_t>(i) - 1]
                                                          : 3);
        tokens += i <= n;
      }
    }
    EXPECT_EQ(micro.target_tokens, tokens);
    EXPECT_EQ(batch.target_tokens, tokens);
  }
}

TEST(Batches, PartsOfABatchKeepItsRowsOrdinalsAndTokens) {
  const TestPairs pairs(300);
  for (const bool closed : {false, true}) {
    Batches batches(pairs.corpus(), {.max_tokens = 300, .closed_shapes = closed});
    for (int step = 0; step < 30; ++step) {
      const BatchRef batch = batches.next();
      const MicroBatch whole = batches.fill(batch);
      for (const int parts : {1, 2, 3, 4, 50}) {
        int64_t row = 0;
        int64_t tokens = 0;
        std::set<int64_t> sizes;
        for (int part = 0; part < parts; ++part) {
          const MicroBatch micro = batches.fill(batch, part, parts);
          const int64_t rows = micro.tensors.source.shape()[0];
          sizes.insert(rows);
          EXPECT_EQ(micro.tensors.source.shape()[1], batch.shape.source);
          for (int64_t i = 0; i < rows; ++i, ++row) {
            EXPECT_EQ(micro.tensors.ordinals.at(i), static_cast<double>(row));
            if (row >= batch.shape.rows) continue;
            EXPECT_EQ(micro.tensors.source_lengths.at(i), whole.tensors.source_lengths.at(row));
            for (int64_t k = 0; k < batch.shape.target; ++k) {
              EXPECT_EQ(micro.tensors.target_out.at(i * batch.shape.target + k),
                        whole.tensors.target_out.at(row * batch.shape.target + k));
            }
          }
          tokens += micro.target_tokens;
        }
        EXPECT_EQ(tokens, batch.target_tokens) << "what the parts' gradients are divided by";
        EXPECT_GE(row, batch.shape.rows);
        EXPECT_LE(*sizes.rbegin() - *sizes.begin(), closed ? 0 : 1);
      }
    }
  }
}

TEST(Batches, ClosedShapesComeFromTheListAndPadWithEmptySentences) {
  const TestPairs pairs(1'000);
  Batches batches(pairs.corpus(), {.max_tokens = 512, .max_length = 40, .closed_shapes = true});
  ASSERT_EQ(batches.shapes().size(), 5u);
  EXPECT_EQ(batches.shapes()[0], (BatchShape{64, 8, 8}));
  EXPECT_EQ(batches.shapes()[4], (BatchShape{12, 40, 40}));
  bool saw_empty = false;
  for (;;) {
    const BatchRef batch = batches.next();
    EXPECT_THAT(batches.shapes(), testing::Contains(batch.shape));
    const MicroBatch micro = batches.fill(batch);
    EXPECT_EQ(micro.tensors.source.shape()[0], batch.shape.rows);
    for (int64_t row = static_cast<int64_t>(batch.pairs.size()); row < batch.shape.rows; ++row) {
      saw_empty = true;
      EXPECT_EQ(micro.tensors.source_lengths.at(row), 0);
      for (int64_t i = 0; i < batch.shape.target; ++i) {
        EXPECT_EQ(micro.tensors.target_out.at(row * batch.shape.target + i), 0);
      }
    }
    if (batch.last_of_epoch) break;
  }
  EXPECT_TRUE(saw_empty);
}

TEST(Batches, LeaveOutPairsThatAreTooLongAndCountThem) {
  TestPairs pairs(20, 10);
  pairs.source[3].assign(10, 11);  // 11 with the end
  pairs.target[5].assign(30, 11);
  pairs.source[6].assign(9, 11);  // 10 with the end: just fits
  Batches batches(pairs.corpus(), {.max_tokens = 64, .max_length = 10});
  EXPECT_EQ(batches.left_out(), 2);
  std::set<uint32_t> seen;
  for (const auto& batch : epoch_of(batches, 1)) seen.insert(batch.begin(), batch.end());
  EXPECT_EQ(seen.size(), 18u);
  EXPECT_EQ(seen.count(3), 0u);
  EXPECT_EQ(seen.count(6), 1u);
}

TEST(Batches, ASentenceLimitAndEmptySidesAreHonoured) {
  const IdSequences empty(10);
  Batches batches(pair_corpus(empty, empty), {.max_sentences = 3});
  const BatchRef batch = batches.next();
  EXPECT_EQ(batch.shape.source, 8);
  EXPECT_EQ(batches.fill(batch).tensors.target_out.at(0), 2);
  EXPECT_EQ(batches.batches_in_epoch(), 4u);
}

TEST(Batches, ACorpusMayBringItsOwnOrderWithRepetitions) {
  const TestPairs pairs(4, 5);
  PairCorpus corpus = pairs.corpus();
  corpus.order = [](uint64_t seed, uint64_t epoch) {
    return std::vector<uint32_t>{static_cast<uint32_t>(seed), 2, 2, static_cast<uint32_t>(epoch)};
  };
  Batches batches(corpus, {.seed = 0});
  EXPECT_THAT(epoch_of(batches, 3), testing::ElementsAre(testing::ElementsAre(0, 2, 2, 3)));
}

TEST(Batches, TheFingerprintChangesWithOptionsAndLengths) {
  TestPairs pairs(50);
  const uint64_t before = Batches(pairs.corpus(), {}).fingerprint();
  EXPECT_NE(Batches(pairs.corpus(), {.max_tokens = 4095}).fingerprint(), before);
  EXPECT_NE(Batches(pairs.corpus(), {.seed = 2}).fingerprint(), before);
  pairs.target[9].push_back(1);
  EXPECT_NE(Batches(pairs.corpus(), {}).fingerprint(), before);
}

TEST(Batches, RefuseImpossibleOptionsByName) {
  const TestPairs pairs(10);
  const auto refused = [&](const BatchOptions& options) {
    return refusal(ErrorKind::user, [&] { Batches(pairs.corpus(), options); });
  };
  EXPECT_THAT(refused({.max_tokens = 0}), HasSubstr("max_tokens is 0"));
  EXPECT_THAT(refused({.max_sentences = -1}), HasSubstr("max_sentences is -1"));
  EXPECT_THAT(refused({.length_multiple = 0}), HasSubstr("length_multiple is 0"));
  EXPECT_THAT(refused({.max_tokens = 100, .max_length = 100}),
              HasSubstr("max_length 100, padded to 104, is above max_tokens 100"));
  EXPECT_THAT(refused({.max_length = 200, .closed_shapes = true}),
              HasSubstr("makes 25 shapes, above 24; a length_multiple of 9 would do"));
  EXPECT_THAT(refused({.max_length = 1}), HasSubstr("none of the 10 pairs is at most 1 ids long"));
  EXPECT_THAT(refusal(ErrorKind::user, [] { Batches({}, {}); }), HasSubstr("none of the 0 pairs"));
  Batches batches(pairs.corpus(), {});
  EXPECT_THAT(refusal(ErrorKind::user, [&] { batches.seek({.epoch = 1, .next = 99}); }),
              HasSubstr("none after 99: the corpus or the options have changed"));
}

}  // namespace
}  // namespace floe
