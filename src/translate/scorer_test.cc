#include "translate/scorer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "testing/test_device.h"
#include "text/temp_files_for_test.h"
#include "translate/engine.h"
#include "translate/model_session.h"
#include "translate/small_models_for_test.h"

namespace floe {
namespace {

using testing::ElementsAre;

struct Scored {
  std::unique_ptr<Device> device = open_test_device();
  std::vector<std::string> warnings;
  Scorer scorer;
  explicit Scored(ModelFile model, const ScorerOptions& options = {})
      : scorer(std::move(model), options, *device, [this](const std::string& w) { warnings.push_back(w); }) {}
  std::vector<PairScore> operator()(const std::vector<std::string>& source,
                                    const std::vector<std::string>& target) {
    return scorer.score(source, target);
  }
};

TEST(Scorer, GivesWhatTheSearchGaveItsTranslations) {
  const std::unique_ptr<Device> device = open_test_device();
  ModelSession session(small_model(), *device);
  SearchOptions search;
  search.beam = 8;
  search.n_best = 8;
  search.min_length = 0;  // a minimum takes the end token out of the softmax
  search.ends = {3};
  const std::vector<SequenceRow> rows = {{.source = {4, 5, 3}}, {.source = {7, 3}}};
  const auto found = session.engine().decode(rows, search, {});
  const std::vector<std::string> sources = {"a b", "d"};
  Scored scored(small_model());
  int compared = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (const Hypothesis& hypothesis : found[r]) {
      std::string text;
      for (const int32_t id : hypothesis.tokens) text += session.text().target.token(id) + " ";
      if (!hypothesis.ended || hypothesis.tokens.empty()) continue;
      const PairScore score = scored({sources[r]}, {text})[0];
      EXPECT_EQ(score.tokens, static_cast<int64_t>(hypothesis.tokens.size()) + 1);
      // Two ways to the same float sums over at most 8 classes.
      EXPECT_NEAR(score.log_probability, hypothesis.log_prob, 1e-5 * static_cast<double>(score.tokens))
          << text;
      ++compared;
    }
  }
  EXPECT_GT(compared, 0);
}

TEST(Scorer, DoesNotDependOnBatches) {
  const std::vector<std::string> source = {"a", "b c d", "", "d d d d d d", "a b"};
  const std::vector<std::string> target = {"b b b", "a", "a", "c d", " "};
  const auto together = Scored(small_model())(source, target);
  const auto alone = Scored(small_model(), {.batch_tokens = 1})(source, target);
  for (size_t i = 0; i < source.size(); ++i) {
    EXPECT_EQ(together[i].log_probability, alone[i].log_probability);
    EXPECT_EQ(together[i].tokens, alone[i].tokens);
  }
  EXPECT_EQ(together[0].tokens, 4);
  for (const size_t blank : {2, 4}) {
    EXPECT_EQ(together[blank].tokens, 0);
    EXPECT_EQ(together[blank].log_probability, 0);
  }
}

TEST(Scorer, RefusesSidesOfDifferentLength) {
  Scored scored(small_model());
  EXPECT_EQ(refusal([&] { scored({"a", "b"}, {"a"}); }), "2 source lines with 1 target lines");
}

TEST(Scorer, CutsALongSideWithAWarning) {
  std::string line;
  for (int i = 0; i < 40; ++i) line += "a ";
  Scored scored(small_model());
  EXPECT_EQ(scored({"a"}, {line})[0].tokens, 32);
  EXPECT_THAT(scored.warnings,
              ElementsAre("target line 1 has 40 tokens; the model takes 31, and what follows them is "
                          "left out"));
  Scored strict(small_model(), {.strict = true});
  EXPECT_EQ(refusal([&] { strict({line}, {"a"}); }), "source line 1 has 40 tokens; the model takes 31");
}

TEST(Scorer, GivesThePublishedScoresOfAPublishedModel) {
  const std::string folder = FLOE_SOURCE_DIR "/../shared/data/ct2-aren-transliteration";
  if (!file_exists(folder + "/model.bin")) GTEST_SKIP() << folder << "/model.bin is absent";
  const auto scores = Scored(load_model(folder))({"آتزمون", "آتشيسون"}, {"atzmon", "achison"});
  // Means as published with five digits.
  EXPECT_NEAR(scores[0].log_probability / 7, -0.15168, 5e-6);
  EXPECT_NEAR(scores[1].log_probability / 8, -0.13920, 5e-6);
}

}  // namespace
}  // namespace floe
