// A trained transliteration model (CTranslate2's own test data), one letter a token: the strings that
// CTranslate2's tests expect of each option.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "base/file.h"
#include "interop/ctranslate2.h"
#include "runtime/state.h"
#include "testing/op_case.h"
#include "translate/engine.h"

namespace floe {
namespace {

using Letters = std::vector<std::string>;

const Letters kAtzmon{"آ", "ت", "ز", "م", "و", "ن"};
const Letters kAchison{"آ", "ت", "ش", "ي", "س", "و", "ن"};
const Letters kAzza{"آ", "ز", "ا"};

class Golden : public testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = std::string(FLOE_SOURCE_DIR) + "/../shared/data/ct2-aren-transliteration";
    if (!file_exists(folder + "/model.bin")) GTEST_SKIP() << "no " << folder;
    model_ = std::make_unique<Ct2Folder>(load_ctranslate2(folder));
    for (auto& [name, weight] : model_->model.weights) state_.set(name, std::move(weight));
    engine_ = std::make_unique<DecodeEngine>(model_->model.config, state_, test_kernels(), *device_);
    options_.ends = {model_->model.config.eos_id};
  }

  SequenceRow row(const Letters& source, const Letters& prefix = {}) const {
    return {.source = model_->source.ids(source), .prefix = model_->target.ids(prefix)};
  }
  std::string text(const Hypothesis& hypothesis) const {
    std::string joined;
    for (const int32_t id : hypothesis.tokens) joined += model_->target.token(id);
    return joined;
  }
  std::vector<Hypothesis> decode(const SequenceRow& row, const AttentionRequest& attention = {}) {
    return engine_->decode(std::vector{row}, options_, attention)[0];
  }
  std::string best(const SequenceRow& row) { return text(decode(row)[0]); }

  std::unique_ptr<Ct2Folder> model_;
  std::unique_ptr<Device> device_ = open_test_device();
  State state_{device_.get()};
  std::unique_ptr<DecodeEngine> engine_;
  SearchOptions options_;
};

TEST_F(Golden, EveryBeamWritesTheNames) {
  for (const int64_t beam : {1, 2, 4}) {
    options_.beam = beam;
    const std::vector<SequenceRow> rows{row(kAtzmon), row(kAchison), row(kAzza)};
    const auto got = engine_->decode(rows, options_, {});
    EXPECT_EQ(text(got[0][0]), "atzmon");
    EXPECT_EQ(text(got[1][0]), "achison");
    EXPECT_EQ(text(got[2][0]), "azza");
  }
}

TEST_F(Golden, GreedyAndBeamGiveOneScore) {
  options_.beam = 1;
  const double greedy = decode(row(kAtzmon))[0].score;
  options_.beam = 2;
  EXPECT_NEAR(decode(row(kAtzmon))[0].score, greedy, 1e-5);
}

TEST_F(Golden, PrefixesAreFollowed) {
  for (const int64_t beam : {1, 4}) {
    options_.beam = options_.n_best = beam;
    EXPECT_EQ(best(row(kAtzmon, {"a", "t", "s"})), "atsumon");
    EXPECT_EQ(best(row(kAtzmon, {"a", "t", "z", "o"})), "atzomon");
    EXPECT_EQ(best(row(kAtzmon, {"<unk>", "t"})), "<unk>tzmon");
    EXPECT_EQ(decode(row(kAtzmon, {"a", "t", "s"})).size(), static_cast<size_t>(beam));
  }
}

TEST_F(Golden, AnotherEndTokenEnds) {
  options_.ends = model_->target.ids(Letters{"m"});
  for (const int64_t beam : {1, 4}) {
    options_.beam = beam;
    EXPECT_EQ(best(row(kAtzmon)), "atz");
  }
}

TEST_F(Golden, LengthLimitsAreMetExactly) {
  for (const int64_t beam : {1, 4}) {
    options_.beam = beam;
    options_.max_length = 3;
    EXPECT_EQ(decode(row(kAtzmon))[0].tokens.size(), 3u);
    options_.max_length = 256;
    options_.min_length = 8;
    EXPECT_EQ(decode(row(kAtzmon))[0].tokens.size(), 8u);
    options_.min_length = 1;
  }
}

TEST_F(Golden, PatienceTwoOfBeamFourGivesEight) {
  options_.beam = 4;
  options_.patience = 2;
  options_.n_best = 8;
  const auto got = decode(row(kAtzmon));
  EXPECT_EQ(got.size(), 8u);
  EXPECT_EQ(text(got[0]), "atzmon");
}

TEST_F(Golden, ABeamWiderThanTheVocabularyGivesAll) {
  options_.beam = options_.n_best = 22;
  EXPECT_EQ(decode(row(kAtzmon)).size(), 22u);
}

TEST_F(Golden, AlternativesFollowAPrefix) {
  options_.beam = 2;
  options_.n_best = 10;
  options_.alternatives = true;
  const auto got = decode(row(kAtzmon, {"a", "t"}), {.wanted = true});
  ASSERT_EQ(got.size(), 10u);
  EXPECT_EQ(text(got[0]), "atzmon");
  EXPECT_EQ(text(got[1]), "atsumon");
  EXPECT_EQ(got[0].attention.size(), 6u);
  std::set<int32_t> third;
  for (const Hypothesis& h : got) third.insert(h.tokens[2]);
  EXPECT_EQ(third.size(), 10u);
  options_.min_alternative_probability = 0.001;
  EXPECT_EQ(decode(row(kAtzmon, {"a", "t"})).size(), 6u);
}

TEST_F(Golden, AlternativesFromTheStartInABatch) {
  options_.beam = 2;
  options_.n_best = 10;
  options_.alternatives = true;
  const std::vector<SequenceRow> rows{row(kAtzmon), row(kAzza), row(kAzza, {"a"})};
  const auto got = engine_->decode(rows, options_, {});
  EXPECT_EQ(text(got[0][0]), "atzmon");
  EXPECT_EQ(text(got[0][1]), "etzmon");
  EXPECT_EQ(text(got[1][0]), "azza");
  EXPECT_EQ(text(got[1][1]), "ezza");
  EXPECT_EQ(text(got[2][0]), "azza");
  EXPECT_EQ(text(got[2][1]), "asza");
}

TEST_F(Golden, AlternativesAfterTheFullTargetGoOn) {
  options_.beam = 2;
  options_.n_best = 4;
  options_.alternatives = true;
  EXPECT_EQ(best(row(kAtzmon, {"a", "t", "z", "m", "o", "n"})), "atzmone");
}

TEST_F(Golden, AlternativesStopAtTheLengthLimit) {
  options_.beam = 2;
  options_.n_best = 4;
  options_.alternatives = true;
  options_.max_length = 2;
  for (const Letters& prefix : {Letters{}, Letters{"a"}, Letters{"a", "t"}, Letters{"a", "t", "z"}}) {
    for (const Hypothesis& h : decode(row(kAtzmon, prefix))) {
      EXPECT_EQ(h.tokens.size(), 2u);
      EXPECT_EQ(h.log_prob == 0, prefix.size() >= 2);
    }
  }
}

TEST_F(Golden, AStrongRepetitionPenaltyGivesEachLetterOnce) {
  options_.repetition_penalty = 100;
  for (const int64_t beam : {1, 4}) {
    options_.beam = beam;
    const auto tokens = decode(row({"ن", "ن", "ن", "ن", "ن"}))[0].tokens;
    EXPECT_EQ(std::set<int32_t>(tokens.begin(), tokens.end()).size(), tokens.size());
  }
}

TEST_F(Golden, NoTrigramComesTwice) {
  options_.no_repeat_ngram = 3;
  for (const int64_t beam : {1, 4}) {
    options_.beam = beam;
    const auto tokens = decode(row(Letters(50, "ن")))[0].tokens;
    std::set<std::vector<int32_t>> seen;
    for (size_t i = 0; i + 3 <= tokens.size(); ++i) {
      EXPECT_TRUE(seen.insert({tokens.begin() + static_cast<int64_t>(i),
                               tokens.begin() + static_cast<int64_t>(i) + 3})
                      .second);
    }
  }
}

TEST_F(Golden, AttentionHasTheSizesOfTheNames) {
  options_.beam = 4;
  const auto azza = decode(row(kAzza), {.wanted = true})[0];
  ASSERT_EQ(azza.attention.size(), 4u);
  EXPECT_EQ(azza.attention[0].size(), 3u);
  const auto atzmon = decode(row(kAtzmon), {.wanted = true})[0];
  ASSERT_EQ(atzmon.attention.size(), 6u);
  EXPECT_EQ(atzmon.attention[0].size(), 6u);
}

}  // namespace
}  // namespace floe
