// The text of a run: what it may be, and what is said of text that it may not be.
#include <zlib.h>

#include "training_for_test.h"

namespace floe {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;

class TrainingTexts : public Training {
 protected:
  static std::string replaced(std::string text, const std::string& what, const std::string& with) {
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size()))
      text.replace(at, what.size(), with);
    return text;
  }
  double tokens_of_an_epoch(const std::string& run, const Flags& more) const {
    Flags all = {{"max-epochs", "1"},
                 {"max-updates", "0"},
                 {"source-tokenizer", path("joint.model")},
                 {"target-tokenizer", path("joint.model")}};
    all.insert(more.begin(), more.end());
    const Outcome got = train(flags(run, all));
    EXPECT_EQ(got.code, 0) << got.err;
    return metrics(run, "train").back()["target_tokens"].get<double>();
  }
};

TEST_F(TrainingTexts, MayBeZippedAndHaveMarksAndReturns) {
  ASSERT_EQ(train(flags("plain")).code, 0);
  const std::string source = read_file(path("train.src"));
  const gzFile zipped = ::gzopen(path("train.src.gz").c_str(), "wb");
  ASSERT_EQ(::gzwrite(zipped, source.data(), static_cast<unsigned>(source.size())),
            static_cast<int>(source.size()));
  ASSERT_EQ(::gzclose(zipped), Z_OK);
  files_.write("returns.tgt", "\xEF\xBB\xBF" + replaced(read_file(path("train.tgt")), "\n", "\r\n"));
  const Outcome run =
      train(flags("other", {{"train-source", path("train.src.gz")}, {"train-target", path("returns.tgt")}}));
  ASSERT_EQ(run.code, 0) << run.err;
  expect_same_run("plain", "other");
}

TEST_F(TrainingTexts, AreMixedByWeight) {
  write_text("more", 50, 7);
  const double first = tokens_of_an_epoch("first", {});
  const double second =
      tokens_of_an_epoch("second", {{"train-source", path("more.src")}, {"train-target", path("more.tgt")}});
  const double both =
      tokens_of_an_epoch("both", {{"train-source", path("train.src") + " " + path("more.src")},
                                  {"train-target", path("train.tgt") + " " + path("more.tgt")},
                                  {"train-weights", "1 3"}});
  EXPECT_EQ(both, first + 3 * second);
}

TEST_F(TrainingTexts, PassOverBlankPairsAndCountThem) {
  files_.write("train.src", read_file(path("train.src")) + "\n \t\none\n");
  files_.write("train.tgt", read_file(path("train.tgt")) + "eins\nzwei\n\xC2\xA0\n");
  const Outcome run = train(flags("run"));
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.err, HasSubstr("243 pairs, 240 kept"));
  EXPECT_THAT(run.err, HasSubstr("3 with a blank side"));
}

TEST_F(TrainingTexts, ThatCannotBeAreNamed) {
  expect_refusal(train(flags("run", {{"train-source", path("nothing")}})),
                 HasSubstr("cannot open " + path("nothing")));
  expect_refusal(train(flags("run", {{"valid-target", path("nothing")}})),
                 HasSubstr("cannot open " + path("nothing")));
  const std::string shorter = files_.write("short.tgt", "eins\nzwei\n");
  expect_refusal(train(flags("run", {{"train-target", shorter}})),
                 AllOf(HasSubstr("train.src has 240"), HasSubstr("short.tgt has 2")));
  expect_refusal(train(flags("run", {{"valid-target", shorter}})),
                 AllOf(HasSubstr("dev.src has 12"), HasSubstr("short.tgt has 2")));
  const std::string empty = files_.write("empty", ""), blank = files_.write("blank", "\n \n\t\n");
  for (const std::string& nothing : {empty, blank}) {
    expect_refusal(train(flags("fresh", {{"train-source", nothing}, {"train-target", nothing}})),
                   HasSubstr("no line of the text teaches a tokenizer anything"));
    expect_refusal(train(flags("run", {{"valid-source", nothing}, {"valid-target", nothing}})),
                   HasSubstr(nothing + ": no line to validate on"));
  }
  EXPECT_FALSE(has("fresh"));
  expect_refusal(train(flags("fresh", {{"train-source", "-"}})),
                 HasSubstr("option train_source: standard input"));
}

TEST_F(TrainingTexts, TooSmallForTheVocabularySayHowLargeItMayBe) {
  const Outcome refused = train(flags("run", {{"vocabulary-size", "8000"}}));
  const std::string words = "a vocabulary of 8000 is too large for this text: the largest possible is ";
  expect_refusal(refused, HasSubstr(words));
  const std::string largest = refused.err.substr(refused.err.find(words) + words.size());
  EXPECT_EQ(train(flags("run", {{"vocabulary-size", largest.substr(0, largest.find('\n'))}})).code, 0);
}

TEST_F(TrainingTexts, HaveOptionsThatAreNamedWhenTheyCannotBe) {
  expect_refusal(train(flags("run", {{"heads", "3"}, {"kv-heads", "3"}})),
                 HasSubstr("heads = 3 does not divide d_model = 16"));
  expect_refusal(
      train(flags("run", {{"max-positions", "20"}, {"max-length", "18"}})),
      HasSubstr(
          "option max_length: 18, padded to 24 by length_multiple 8, is above the model's max_positions 20"));
  expect_refusal(train(flags("run", {{"batch-tokens", "12"}})),
                 HasSubstr("option batch_tokens: 12 is less than one sentence"));
  expect_refusal(train(flags("run", {{"validation-beam", "60"}})),
                 HasSubstr("beam is 60, but the target vocabulary has only 44"));
  const Outcome flag = train(flags("run", {{"batch-token", "12"}}));
  EXPECT_EQ(flag.code, 2);
  EXPECT_THAT(flag.err, HasSubstr("train has no option --batch-token; did you mean --batch-tokens?"));
  const std::string config = files_.write("run.toml", "[batch]\nbatch_tokens = 512\nmax_lenght = 16\n");
  expect_refusal(
      floe({"train", "--config", config}),
      HasSubstr(config + ":3: unknown option 'max_lenght' in [batch]; did you mean 'max_length'?"));
  files_.write("run.toml", "[batch]\nbatch_tokens = 'many'\n");
  expect_refusal(floe({"train", "--config", config}),
                 HasSubstr(config + ":2: 'batch_tokens': 'many' is neither a whole number nor auto"));
}

}  // namespace
}  // namespace floe
