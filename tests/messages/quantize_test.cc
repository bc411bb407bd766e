// floe quantize as a user runs it: on the model that comes with the program, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "text/temp_files_for_test.h"

namespace floe {
namespace {

using testing::HasSubstr;

const std::string kModel = FLOE_SOURCE_DIR "/models/en-de";
const std::string kExamples = kModel + "/examples.txt";

class Quantizing : public testing::Test {
 protected:
  struct Outcome {
    int code = 0;
    std::string out, err;
  };
  // `arguments` stand in a shell's command line.
  Outcome floe(const std::string& arguments) const {
    const std::string command = std::string("'") + FLOE_PROGRAM + "' " + arguments + " </dev/null >" +
                                path("stdout") + " 2>" + path("stderr");
    const int status = std::system(command.c_str());
    EXPECT_TRUE(WIFEXITED(status)) << "ended by a signal: " << command;
    return {WEXITSTATUS(status), read_file(path("stdout")), read_file(path("stderr"))};
  }
  void expect_refusal(const std::string& arguments, int code, const std::string& message) const {
    const Outcome got = floe(arguments);
    EXPECT_EQ(got.code, code) << got.err;
    EXPECT_THAT(got.err, HasSubstr(message));
    EXPECT_FALSE(file_exists(path("written")));
  }
  std::string quantized(const std::string& name, const std::string& more = "") const {
    const Outcome got = floe("quantize " + kModel + " -o " + path(name) + " " + more);
    EXPECT_EQ(got.code, 0) << got.err;
    return path(name);
  }
  // The first `lines` of one of Multi30k's files.
  std::string head(const std::string& name, size_t lines) const {
    const std::string text = read_file(folder() + "/" + name);
    size_t end = 0;
    for (size_t i = 0; i < lines && end != std::string::npos; ++i) end = text.find('\n', end) + 1;
    return files_.write(name, text.substr(0, end));
  }
  static std::string folder() { return FLOE_SOURCE_DIR "/../shared/data/multi30k-en-de"; }
  nlohmann::json evaluated(const std::string& model, const std::string& source,
                           const std::string& target) const {
    const Outcome got =
        floe("evaluate --json --model " + model + " --source " + source + " --references " + target);
    EXPECT_EQ(got.code, 0) << got.err;
    return nlohmann::json::parse(got.out);
  }
  std::string path(const std::string& name) const { return files_.path(name); }

  TempFiles files_;
};

TEST_F(Quantizing, TheShippedModelTakesLittleMoreThanAQuarterAndStillTranslates) {
  const std::string folder = quantized("int8");
  ASSERT_EQ(floe("convert --model " + kModel + " --output " + path("f32")).code, 0);
  const auto size = [](const std::string& model) {
    return static_cast<double>(std::filesystem::file_size(model + "/model.safetensors"));
  };
  EXPECT_LE(size(folder) / size(path("f32")), 0.27);
  const Outcome got = floe("translate --model " + folder + " --input " + kExamples);
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_THAT(got.out, HasSubstr("Ein Hund rennt durch den Schnee."));
}

TEST_F(Quantizing, EveryKindOfCpuGivesTheSameTranslationsAndScores) {
  const std::string folder = quantized("int8");
  const std::string run = "translate --scores --n-best 3 --model " + folder + " --input " + kExamples;
  const std::string best = floe(run).out;
  const char* before = std::getenv("FLOE_INT8");
  const std::string was = before == nullptr ? "" : before;
  int tried = 0;
  for (const char* target : {"scalar", "avx2", "avx512bw", "vnni", "amx"}) {
    ::setenv("FLOE_INT8", target, 1);
    const Outcome got = floe(run);
    if (got.code != 0) {
      EXPECT_THAT(got.err, HasSubstr(std::string("FLOE_INT8 is '") + target + "'; this CPU has scalar"));
      continue;
    }
    EXPECT_EQ(got.out, best) << target;
    ++tried;
  }
  ::setenv("FLOE_INT8", was.c_str(), 1);
  EXPECT_GE(tried, 1);
}

// A tiny model may lose 1.0 BLEU, and what is measured is more than one metric.
TEST_F(Quantizing, QualityStaysWithOrWithoutCalibration) {
  if (!file_exists(folder() + "/val.en")) GTEST_SKIP() << folder() << "/val.en is absent";
  const std::string source = head("val.en", 400), target = head("val.de", 400);
  const nlohmann::json plain = evaluated(kModel, source, target);
  const std::string text = head("train.en", 200);
  for (const std::string& model : {quantized("dynamic"), quantized("fixed", "--calibrate " + text),
                                   quantized("entropy", "--calibrator entropy --calibrate " + text)}) {
    const nlohmann::json got = evaluated(model, source, target);
    for (const char* name : {"bleu", "chrf"})
      EXPECT_GT(got[name].get<double>(), plain[name].get<double>() - 1.0) << name << " of " << model;
  }
}

TEST_F(Quantizing, ComparesAndReports) {
  const Outcome got =
      floe("quantize " + kModel + " --sensitivity --compare " + kExamples + " --report " + path("r.json"));
  ASSERT_EQ(got.code, 0) << got.err;
  EXPECT_THAT(got.out, HasSubstr("5 sentences"));
  const nlohmann::json report = nlohmann::json::parse(read_file(path("r.json")));
  EXPECT_EQ(report["sentences"], 5);
  EXPECT_NEAR(report["int8_loss"].get<double>(), report["float_loss"].get<double>(), 0.05);
  EXPECT_NEAR(report["fake_loss"].get<double>(), report["int8_loss"].get<double>(), 0.005);
  ASSERT_EQ(report["products"].size(), 45u);
  for (const nlohmann::json& product : report["products"]) {
    EXPECT_EQ(product["different_codes"], 0) << product["weight"];
    EXPECT_GT(product["sqnr_db"], 25) << product["weight"];
    EXPECT_GT(product["log_prob_change"], 0) << product["weight"];
  }
  ASSERT_EQ(floe("quantize " + kModel + " --compare " + kExamples + " --report " + path("r.html")).code, 0);
  EXPECT_THAT(read_file(path("r.html")), HasSubstr("<td>encoder.0.self_attention.qkv.weight</td>"));
}

// Its own translations are the references: the float model has 100 BLEU there and any other less.
TEST_F(Quantizing, MeetsABudgetOfBleuByKeepingWeightsFloat) {
  ASSERT_EQ(floe("translate --model " + kModel + " --input " + kExamples + " --output " + path("own")).code,
            0);
  const std::string data = " --source " + kExamples + " --references " + path("own");
  const Outcome loose = floe("quantize " + kModel + " --max-bleu-loss 100 -o " + path("loose") + data);
  ASSERT_EQ(loose.code, 0) << loose.err;
  EXPECT_THAT(loose.out, HasSubstr("45 weights of products are INT8, 0 are kept in float"));
  const Outcome none = floe("quantize " + kModel + " --max-bleu-loss -1 -o " + path("none") + data);
  EXPECT_EQ(none.code, 2);
  EXPECT_THAT(none.err, HasSubstr("--max-bleu-loss must be at least 0, got -1"));
}

TEST_F(Quantizing, RefusesInOneLine) {
  const std::string out = " -o " + path("written");
  expect_refusal("quantize", 2, "--model");
  expect_refusal("quantize " + kModel, 2, "quantize takes --output, --compare, or both");
  expect_refusal("quantize " + kModel + out + " --report x.json", 2, "--report needs --compare");
  expect_refusal("quantize " + kModel + out + " --max-bleu-loss 1", 2,
                 "--max-bleu-loss needs --source and --references");
  expect_refusal("quantize " + kModel + " --compare " + kExamples + " --report r.txt", 2,
                 "--report: a file that ends in .json or .html, not 'r.txt'");
  expect_refusal("quantize " + kModel + out + " --keep-float nothing", 1,
                 "'nothing' is the name, or the beginning of the name, of no weight that may be INT8");
  expect_refusal("quantize " + kModel + out + " --calibrate " + kExamples, 1, "5 sentences (");
  expect_refusal("quantize " + kModel + out + " --calibrate " + files_.write("empty", ""), 1,
                 "0 sentences (0 tokens) are too few to calibrate with; 16 is the least");
  expect_refusal("quantize " + kModel + out + " --calibrate " + kExamples + " --calibrator best", 1,
                 "'best' is none of minmax, average, percentile, entropy, mse");
  const std::string folder = quantized("int8");
  expect_refusal("quantize " + folder + out, 1, "the model's weights are INT8 already");
  expect_refusal("quantize " + kModel + " -o " + folder, 1, "int8 is there already");
}

}  // namespace
}  // namespace floe
