// What each option does to the same few names, from text to text: the strings that CTranslate2's tests
// expect.
#include <gmock/gmock.h>

#include <set>

#include "golden/aren.h"
#include "translate/engine.h"

namespace floe {
namespace {

using testing::ElementsAre;

const std::string kAtzmon = "آتزمون", kAchison = "آتشيسون", kAzza = "آزا";

class ArenBehaviour : public ArenTest {
 protected:
  std::vector<Translation> translate(const std::vector<std::string>& lines,
                                     const std::vector<std::string>& prefixes = {}) {
    return session().translator(options_, warn).translate(lines, prefixes);
  }
  std::vector<std::string> texts(const std::vector<std::string>& lines,
                                 const std::vector<std::string>& prefixes = {}) {
    std::vector<std::string> out;
    for (const Translation& t : translate(lines, prefixes)) out.push_back(t.text());
    return out;
  }
  std::string text(const std::string& line, const std::string& prefix = "") {
    return texts({line}, {prefix})[0];
  }
  int32_t target_id(const char* token) { return session().text().target.find(token); }

  TranslatorOptions options_;
};

// The options that must not depend on the kind of search.
class ArenEveryBeam : public ArenBehaviour, public testing::WithParamInterface<int64_t> {
 protected:
  void SetUp() override {
    ArenBehaviour::SetUp();
    options_.search.beam = GetParam();
  }
};
INSTANTIATE_TEST_SUITE_P(Beams, ArenEveryBeam, testing::Values(1, 2, 4));

TEST_P(ArenEveryBeam, WritesTheNames) {
  EXPECT_THAT(texts({kAtzmon, kAchison, kAzza}), ElementsAre("atzmon", "achison", "azza"));
}

TEST_P(ArenEveryBeam, FollowsPrefixes) {
  EXPECT_EQ(text(kAtzmon, "ats"), "atsumon");
  EXPECT_EQ(text(kAtzmon, "atzo"), "atzomon");
  EXPECT_THAT(texts({kAtzmon, kAzza}, {"ats", ""}), ElementsAre("atsumon", "azza"));
}

TEST_P(ArenEveryBeam, ReplacesUnknownLettersBySourceLetters) {
  EXPECT_EQ(text(kAtzmon, "?t"), "<unk>tzmon");  // no question mark in the vocabulary
  options_.replace_unknown = true;
  EXPECT_EQ(text(kAtzmon, "?t"), "تtzmon");
}

TEST_P(ArenEveryBeam, EndsAtAnotherEndToken) {
  options_.search.ends = {target_id("m")};
  EXPECT_EQ(text(kAtzmon), "atz");
}

TEST_P(ArenEveryBeam, KeepsToLengthLimits) {
  options_.search.max_length = 2;
  EXPECT_EQ(translate({kAtzmon})[0].candidates[0].tokens.size(), 2u);
  options_.search.max_length = 256;
  options_.search.min_length = 8;
  EXPECT_EQ(translate({kAtzmon})[0].candidates[0].tokens.size(), 8u);
}

TEST_P(ArenEveryBeam, LeavesEmptyLinesEmpty) {
  const auto alone = translate({kAtzmon, kAzza});
  const auto got = translate({"", kAtzmon, "", kAzza, ""});
  for (const size_t k : {0, 2, 4}) {
    EXPECT_EQ(got[k].text(), "");
    EXPECT_EQ(got[k].candidates[0].score, 0);
    EXPECT_TRUE(got[k].candidates[0].tokens.empty());
  }
  for (const size_t k : {0, 1}) {
    EXPECT_EQ(got[2 * k + 1].text(), alone[k].text());
    EXPECT_EQ(got[2 * k + 1].candidates[0].score, alone[k].candidates[0].score);  // the same bits
  }
}

TEST_P(ArenEveryBeam, GivesAnAttentionRowALetter) {
  options_.attention.wanted = true;
  const auto got = translate({kAzza, kAtzmon});
  const Alignment& azza = *got[0].candidates[0].alignment;
  EXPECT_EQ(azza.rows(), 4);
  EXPECT_EQ(azza.columns, 3);
  const Alignment& atzmon = *got[1].candidates[0].alignment;
  EXPECT_EQ(atzmon.rows(), 6);
  EXPECT_EQ(atzmon.columns, 6);
}

TEST_P(ArenEveryBeam, DividesByTheLengthWithItsEnd) {
  options_.search.length_penalty.alpha = 0;
  const Candidate sum = translate({kAtzmon})[0].candidates[0];
  options_.search.length_penalty.alpha = 1;
  const Candidate mean = translate({kAtzmon})[0].candidates[0];
  EXPECT_EQ(sum.text, "atzmon");
  EXPECT_EQ(mean.text, "atzmon");
  EXPECT_DOUBLE_EQ(mean.score, sum.score / 7);
  EXPECT_EQ(sum.score, sum.log_probability);
}

TEST_P(ArenEveryBeam, SuppressedLettersNeverCome) {
  options_.suppressed = {"z", "m"};
  EXPECT_EQ(text(kAtzmon).find_first_of("zm"), std::string::npos);
}

TEST_F(ArenBehaviour, AlternativesDifferInTheLetterAfterThePrefix) {
  options_.search.beam = 2;
  options_.search.n_best = 10;
  options_.search.alternatives = true;
  auto got = translate({kAtzmon}, {"at"})[0].candidates;
  ASSERT_EQ(got.size(), 10u);
  EXPECT_EQ(got[0].text, "atzmon");
  EXPECT_EQ(got[1].text, "atsumon");
  std::set<std::string> third;
  for (const Candidate& c : got) third.insert(c.tokens.at(2));
  EXPECT_EQ(third.size(), 10u);
  options_.search.min_alternative_probability = 0.001;
  EXPECT_EQ(translate({kAtzmon}, {"at"})[0].candidates.size(), 6u);
}

TEST_F(ArenBehaviour, AlternativesAfterTheWholeNameGoOn) {
  options_.search.beam = 2;
  options_.search.n_best = 4;
  options_.search.alternatives = true;
  EXPECT_EQ(text(kAtzmon, "atzmon"), "atzmone");
}

TEST_F(ArenBehaviour, PatienceTwoOfBeamFourGivesEightSortedCandidates) {
  options_.search.patience = 2;
  options_.search.n_best = 8;
  const auto got = translate({kAtzmon})[0].candidates;
  ASSERT_EQ(got.size(), 8u);
  std::set<std::string> different;
  for (size_t k = 0; k < got.size(); ++k) {
    different.insert(got[k].text);
    EXPECT_LE(got[k].score, got[k == 0 ? 0 : k - 1].score);
  }
  EXPECT_EQ(different.size(), 8u);
}

TEST_F(ArenBehaviour, AttentionOfACutLineIsAsWideAsTheWhole) {
  options_.attention.wanted = true;
  ModelText text = session().text();
  text.max_source = 3;
  ASSERT_FALSE(text.source_ends);
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& w) { warnings.push_back(w); };
  const std::vector<std::string> lines = {kAtzmon};
  const Alignment alignment =
      *Translator(text, session().engine(), options_, warn).translate(lines)[0].candidates[0].alignment;
  EXPECT_THAT(warnings, ElementsAre("line 1 has 6 tokens; the model takes 3, and what follows them is left "
                                    "out"));
  EXPECT_EQ(alignment.columns, 6);
  ASSERT_GT(alignment.rows(), 0);
  for (int64_t r = 0; r < alignment.rows(); ++r) {
    const auto row = alignment.row(r);
    EXPECT_NEAR(row[0] + row[1] + row[2], 1, 1e-6);
    for (size_t c = 3; c < 6; ++c) EXPECT_EQ(row[c], 0.0f);
  }
}

TEST_F(ArenBehaviour, TheInt8ModelWritesTheNamesToo) {
  if (!has_aren("-i8")) GTEST_SKIP() << aren_folder("-i8") << "/model.bin is absent";
  ModelSession int8(load_model(aren_folder("-i8")), *device_);
  const std::vector<std::string> lines = {kAtzmon, kAchison, kAzza};
  for (const int64_t beam : {1, 2, 4}) {
    options_.search.beam = beam;
    const auto got = int8.translator(options_, warn).translate(lines);
    EXPECT_EQ(got[0].text(), "atzmon");
    EXPECT_EQ(got[1].text(), "achison");
    EXPECT_EQ(got[2].text(), "azza");
  }
}

}  // namespace
}  // namespace floe
