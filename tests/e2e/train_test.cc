// What a run teaches its model, what it leaves behind, and that equal runs are equal.
#include <fmt/core.h>
#include <pty.h>

#include <algorithm>
#include <cmath>

#include "training_for_test.h"

namespace floe {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

class Train : public Training {
 protected:
  double bleu_of(const std::string& model, const std::string& beam) const {
    const Outcome got = floe({"evaluate", "--json", "--model", path(model), "--beam", beam, "--source",
                              path("dev.src"), "--references", path("dev.tgt")});
    EXPECT_EQ(got.code, 0) << got.err;
    return nlohmann::json::parse(got.out)["bleu"].get<double>();
  }
  nlohmann::json best_validation(const std::string& run) const {
    nlohmann::json best;
    for (const auto& row : metrics(run, "validation")) {
      if (best.is_null() || row["bleu"].get<double>() > best["bleu"].get<double>()) best = row;
    }
    return best;
  }
};

TEST_F(Train, LearnsToTranslateAndLeavesWhatIsDocumented) {
  write_text("train", 1000, 1);
  const Outcome run = train(flags("run", {{"d-model", "32"},
                                          {"d-ff", "64"},
                                          {"residual-dropout", "0"},
                                          {"label-smoothing", "0"},
                                          {"max-updates", "400"},
                                          {"validate-every", "200"},
                                          {"save-every", "200"}}));
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.out, "");
  const auto rows = metrics("run", "train");
  ASSERT_EQ(rows.size(), 400u);
  EXPECT_LT(rows.back()["nll"].get<double>(), 0.2 * rows.front()["nll"].get<double>());

  const Outcome got = floe({"translate", "--model", path("run/model"), "--input", path("dev.src")});
  ASSERT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(std::count(got.out.begin(), got.out.end(), '\n'), 12);
  EXPECT_GT(bleu_of("run/model", "4"), 80);

  EXPECT_EQ(names_in("run", ""),
            (std::vector<std::string>{"best", "best-bleu", "best-cross_entropy", "checkpoint-00000200",
                                      "checkpoint-00000400", "metrics.jsonl", "model", "options.toml",
                                      "tokenizer.model"}));
  EXPECT_EQ(names_in("run/checkpoint-00000400", ""),
            (std::vector<std::string>{"model.safetensors", "state.json", "trainer.safetensors"}));
  for (const char* model : {"run/best", "run/model"}) {
    EXPECT_EQ(names_in(model, ""),
              (std::vector<std::string>{"config.json", "model.safetensors", "tokenizer.model"}));
  }
}

TEST_F(Train, SaysWhatItDoesInPlainLines) {
  const Outcome run = train(flags("run", {{"log-every", "10"}}));
  EXPECT_THAT(run.err,
              AllOf(HasSubstr("240 kept"), HasSubstr(" 25% epoch "), HasSubstr(" step 10 loss "),
                    HasSubstr("validation at update 40: cross_entropy "), HasSubstr(" tok/s "),
                    HasSubstr("40 updates, 0 of them skipped"), EndsWith("run/model: the best one\n"),
                    Not(HasSubstr("\r")), Not(HasSubstr("\x1b")), Not(HasSubstr("\n\n"))));
  EXPECT_EQ(metrics("run", "train").size(), 4u);
}

TEST_F(Train, DrawsABarOnATerminal) {
  Flags all = flags("run", {{"log-every", "10"}, {"metrics", "cross_entropy"}});
  std::vector<std::string> words = {FLOE_PROGRAM, "train"};
  for (const auto& [name, value] : all) {
    words.push_back("--" + name);
    words.push_back(value);
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  winsize size{.ws_row = 24, .ws_col = 60, .ws_xpixel = 0, .ws_ypixel = 0};
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (child == 0) {
    ::execv(FLOE_PROGRAM, argv.data());
    ::_exit(127);
  }
  std::string seen;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(terminal, buffer, sizeof buffer)) > 0;)
    seen.append(buffer, static_cast<size_t>(got));
  ::close(terminal);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << seen;
  EXPECT_THAT(seen, AllOf(HasSubstr("\r[#####...............]  25% epoch "),
                          HasSubstr("\r[####################] 100%")));
  size_t widest = 0;
  for (size_t at = seen.find("\r["); at != std::string::npos; at = seen.find("\r[", at + 1))
    widest = std::max(widest, seen.find('\x1b', at) - at - 1);
  EXPECT_LT(widest, 60u);
}

TEST_F(Train, OptionsArePrintedInFullAndReadBack) {
  ASSERT_EQ(train(flags("run", {{"max-updates", "5"}, {"save-every", "5"}})).code, 0);
  const std::string record = bytes("run/options.toml");
  const Outcome printed = floe({"train", "--config", path("run/options.toml"), "--print-options"});
  EXPECT_EQ(printed.code, 0);
  EXPECT_EQ(printed.out, record);
  const Outcome again = floe({"train", "--config", path("run/options.toml"), "--output", path("again")});
  EXPECT_EQ(again.code, 0) << again.err;
  expect_same_run("run", "again");
}

TEST_F(Train, OneSeedGivesOneRunWithAnyThreads) {
  const Flags more = {{"residual-dropout", "0.2"}, {"attention-dropout", "0.1"}, {"subword-alpha", "0.5"}};
  Flags two = more;
  two["threads"] = "2";
  Flags one = more;
  one["threads"] = "1";
  Flags other = more;
  other["seed"] = "2";
  ASSERT_EQ(train(flags("first", two)).code, 0);
  ASSERT_EQ(train(flags("second", two)).code, 0);
  ASSERT_EQ(train(flags("third", one)).code, 0);
  ASSERT_EQ(train(flags("other", other)).code, 0);
  expect_same_run("first", "second");
  expect_same_run("first", "third");
  EXPECT_NE(bytes("first/metrics.jsonl"), bytes("other/metrics.jsonl"));
}

TEST_F(Train, DecodingTheBestModelGivesTheLoggedBleu) {
  for (const char* decay : {"0", "0.9"}) {
    const std::string run = std::string("run") + decay;
    const Outcome trained = train(flags(run, {{"ema-decay", decay},
                                              {"d-model", "32"},
                                              {"residual-dropout", "0"},
                                              {"learning-rate", "0.02"},
                                              {"max-updates", "120"},
                                              {"validation-beam", "3"}}));
    ASSERT_EQ(trained.code, 0) << trained.err;
    const auto best = best_validation(run);
    EXPECT_GT(best["bleu"].get<double>(), 0);
    EXPECT_EQ(bleu_of(run + "/best", "3"), best["bleu"].get<double>());
    EXPECT_EQ(bleu_of(run + "/model", "3"), best["bleu"].get<double>());
    EXPECT_EQ(nlohmann::json::parse(bytes(run + "/best/config.json"))["notes"]["updates"],
              std::to_string(best["step"].get<int>()));
  }
}

TEST_F(Train, WithoutValidationTheAveragedWeightsAreTheModel) {
  ASSERT_EQ(train(flags("run", {{"ema-decay", "0.9"}, {"validate-every", "0"}})).code, 0);
  const auto model = SafetensorsFile::open(path("run/model/model.safetensors"));
  const auto trainer = SafetensorsFile::open(path("run/checkpoint-00000040/trainer.safetensors"));
  for (const std::string& name : model.names()) {
    const Tensor weight = model.load(name), averaged = trainer.load("ema." + name);
    EXPECT_EQ(std::memcmp(weight.data(), averaged.data(), weight.bytes()), 0) << name;
  }
}

TEST_F(Train, PartsOfABatchGiveTheLossesOfTheWhole) {
  const Flags more = {{"residual-dropout", "0.1"}, {"learning-rate", "0.0001"}, {"max-updates", "8"}};
  Flags parts = more;
  parts["micro-batches"] = "3";
  ASSERT_EQ(train(flags("whole", more)).code, 0);
  ASSERT_EQ(train(flags("parts", parts)).code, 0);
  const auto a = metrics("whole", "train"), b = metrics("parts", "train");
  ASSERT_EQ(a.size(), 8u);
  ASSERT_EQ(b.size(), 8u);
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i]["target_tokens"], b[i]["target_tokens"]);
    const double loss = a[i]["loss"].get<double>();
    EXPECT_NEAR(loss, b[i]["loss"].get<double>(), 1e-6 * loss) << "update " << i + 1;
  }
}

TEST_F(Train, PartsWithoutASentenceAreLeftOut) {
  const Outcome run =
      train(flags("run", {{"micro-batches", "7"}, {"batch-sentences", "3"}, {"max-updates", "3"}}));
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(metrics("run", "train").size(), 3u);
}

TEST_F(Train, FineTuningBeginsWithTheLossOfItsModel) {
  ASSERT_EQ(train(flags("first")).code, 0);
  expect_refusal(train(flags("second", {{"init-from", path("first/none")}})),
                 HasSubstr("there is no model in " + path("first/none")));
  const Outcome tuned = train(
      flags("second", {{"init-from", path("first/best")}, {"max-updates", "1"}, {"learning-rate", "1e-12"}}));
  ASSERT_EQ(tuned.code, 0) << tuned.err;
  EXPECT_FALSE(has("second/tokenizer.model"));
  const auto best = best_validation("first");
  const auto got = metrics("second", "validation").front();
  EXPECT_EQ(got["bleu"], best["bleu"]);
  // One update of 1e-12 on weights near 0.1 changes hardly one of them in f32.
  EXPECT_NEAR(got["cross_entropy"].get<double>(), best["cross_entropy"].get<double>(), 1e-6);
}

TEST_F(Train, EndsWithTheEpoch) {
  ASSERT_EQ(train(flags("run", {{"max-epochs", "2"}, {"max-updates", "0"}})).code, 0);
  const auto rows = metrics("run", "train");
  EXPECT_EQ(rows.front()["epoch"], 1.0);
  EXPECT_EQ(rows.back()["epoch"], 2.0);
  const auto in_first =
      std::count_if(rows.begin(), rows.end(), [](const auto& row) { return row["epoch"] == 1.0; });
  const double tokens = rows[static_cast<size_t>(in_first) - 1]["target_tokens"].get<double>();
  EXPECT_EQ(rows.back()["target_tokens"].get<double>(), 2 * tokens) << "not two whole epochs";
  EXPECT_EQ(nlohmann::json::parse(bytes("run/best/config.json"))["notes"]["epochs"], "2");
}

TEST_F(Train, StopsEarlyAndStaysStopped) {
  const Flags more = {{"learning-rate", "1e-12"},  {"validate-every", "2"}, {"metrics", "cross_entropy"},
                      {"metric-epsilons", "0.01"}, {"patience", "3"},       {"max-updates", "100"}};
  const Outcome run = train(flags("run", more));
  EXPECT_EQ(run.code, 0);
  EXPECT_THAT(run.err, HasSubstr("no better cross_entropy for 3 validations"));
  EXPECT_EQ(metrics("run", "validation").size(), 4u);  // the first is the best
  const Outcome again = train(flags("run", more));
  EXPECT_EQ(again.code, 0);
  EXPECT_THAT(again.err, HasSubstr("nothing to do: the run has ended at update 8\n"));
  EXPECT_EQ(metrics("run", "train").size(), 8u);
  Flags longer = more;
  longer["patience"] = "5";
  ASSERT_EQ(train(flags("run", longer)).code, 0);
  EXPECT_EQ(metrics("run", "validation").size(), 6u);
}

TEST_F(Train, EndsWithAReportWhenItDiverges) {
  const Outcome run = train(flags("run", {{"learning-rate", "1e30"},
                                          {"warmup", "0"},
                                          {"save-every", "1"},
                                          {"validate-every", "1"},
                                          {"max-skipped", "3"}}));
  expect_refusal(run,
                 AllOf(HasSubstr("training has diverged: the gradient of 3 updates in a row was not finite"),
                       HasSubstr("the last checkpoint is " + path("run/checkpoint-"))));
  const auto skipped = metrics("run", "skipped");
  ASSERT_EQ(skipped.size(), 3u);
  const auto last = skipped.back()["step"].get<int>();
  EXPECT_EQ(names_in("run", "checkpoint-").back(), fmt::format("checkpoint-{:08}", last - 1));
  const auto state = nlohmann::json::parse(bytes(fmt::format("run/checkpoint-{:08}/state.json", last - 1)));
  EXPECT_EQ(state["skipped"], 2);
  expect_refusal(train(flags("other", {{"learning-rate", "inf"}})),
                 HasSubstr("learning rate inf is not a positive number"));
}

TEST_F(Train, CropsWhatIsTooLongOnlyInValidation) {
  std::string line = "one";
  for (int i = 0; i < 60; ++i) line += " two";
  files_.write("dev.src", read_file(path("dev.src")) + line + "\n\n");
  files_.write("dev.tgt", read_file(path("dev.tgt")) + line + "\n\n");
  files_.write("train.src", read_file(path("train.src")) + line + "\n");
  files_.write("train.tgt", read_file(path("train.tgt")) + "eins\n");
  // 25 positions are no multiple of 8: validation must not round a length up to 32.
  const Outcome run = train(flags("run", {{"max-positions", "25"}}));
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(metrics("run", "validation").size(), 2u);
  EXPECT_THAT(run.err, AllOf(HasSubstr("1 too long"), HasSubstr("dev.src: line 13 has ")));
  const size_t first = run.err.find("line 13 has ");
  EXPECT_EQ(run.err.find("line 13 has ", first + 1), std::string::npos) << "said twice";
  EXPECT_EQ(bleu_of("run/best", "4"), best_validation("run")["bleu"].get<double>());
}

}  // namespace
}  // namespace floe
