// Against testdata/sacrebleu.json, which tools/dump_sacrebleu.py has sacreBLEU write.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "eval/evaluate.h"
#include "eval/ngram.h"
#include "eval/unicode.h"

namespace floe {
namespace {

using nlohmann::json;

const json& fixture() {
  static const json data = json::parse(read_file(FLOE_SOURCE_DIR "/src/eval/testdata/sacrebleu.json"));
  return data;
}

BleuOptions bleu_options(const json& given) {
  BleuOptions options{
      .tokenizer = tokenizer_from_name(given.value("tokenize", "13a")),
      .letters = given.value("lowercase", false) ? Case::lower : Case::mixed,
      .smoothing = smoothing_from_name(given.value("smooth_method", "exp")),
      .effective_order = given.value("effective_order", false),
  };
  if (given.contains("smooth_value") && !given["smooth_value"].is_null()) {
    options.smoothing_value = given["smooth_value"].get<double>();
  }
  return options;
}

ChrfOptions chrf_options(const json& given) {
  return {
      .char_order = given.value("char_order", 6),
      .word_order = given.value("word_order", 0),
      .beta = given.value("beta", 2),
      .letters = given.value("lowercase", false) ? Case::lower : Case::mixed,
      .whitespace = given.value("whitespace", false) ? Whitespace::kept : Whitespace::removed,
      .smoothing =
          given.value("eps_smoothing", false) ? ChrfSmoothing::epsilon : ChrfSmoothing::effective_order,
  };
}

// A handful of additions, divisions and logarithms of order 1 each, rounded to double.
void expect_same(double ours, double theirs) {
  EXPECT_NEAR(ours, theirs, 64 * std::numeric_limits<double>::epsilon() * std::max(1.0, std::abs(theirs)));
}

TEST(Sacrebleu, PrintsTheSameBleuLines) {
  size_t cases = 0;
  for (const auto& [name, corpus] : fixture()["corpora"].items()) {
    const auto hypotheses = corpus["hypotheses"].get<Lines>();
    const auto references = corpus["references"].get<std::vector<Lines>>();
    for (const json& expected : corpus["bleu"]) {
      SCOPED_TRACE(name + " " + expected["options"].dump());
      const BleuOptions options = bleu_options(expected["options"]);
      const BleuScore score = bleu(hypotheses, references, options);
      EXPECT_EQ(score.line(), expected["line"].get<std::string>());
      expect_same(score.score, expected["score"]);
      EXPECT_EQ(bleu_signature(options, references.size()),
                expected["signature"].get<std::string>() + "version:" + evaluation_version());
      ++cases;
    }
  }
  EXPECT_GE(cases, 400u);
}

TEST(Sacrebleu, PrintsTheSameChrfLines) {
  size_t cases = 0;
  for (const auto& [name, corpus] : fixture()["corpora"].items()) {
    const auto hypotheses = corpus["hypotheses"].get<Lines>();
    const auto references = corpus["references"].get<std::vector<Lines>>();
    for (const json& expected : corpus["chrf"]) {
      SCOPED_TRACE(name + " " + expected["options"].dump());
      const ChrfOptions options = chrf_options(expected["options"]);
      const ChrfScore score = chrf(hypotheses, references, options);
      EXPECT_EQ(score.line(), expected["line"].get<std::string>());
      expect_same(score.score, expected["score"]);
      EXPECT_EQ(chrf_signature(options, references.size()),
                expected["signature"].get<std::string>() + "version:" + evaluation_version());
      ++cases;
    }
  }
  EXPECT_GE(cases, 250u);
}

TEST(Sacrebleu, PrintsTheSameSentenceLines) {
  for (const json& expected : fixture()["sentences"]) {
    const auto hypothesis = expected["hypothesis"].get<std::string>();
    EXPECT_EQ(sentence_bleu(hypothesis, expected["references"].get<Lines>()).line(),
              expected["line"].get<std::string>())
        << hypothesis;
  }
}

TEST(Sacrebleu, TokenizesEveryLineAlike) {
  const auto lines = fixture()["tokenized"]["lines"].get<Lines>();
  for (const json& expected : fixture()["tokenized"]["by"]) {
    const BleuTokenizer tokenizer = tokenizer_from_name(expected["tokenizer"].get<std::string>());
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_EQ(encode_utf8(tokenize(tokenizer, decode_utf8(lines[i]).value())),
                expected["lines"][i].get<std::string>())
          << tokenizer_name(tokenizer) << ": " << lines[i];
    }
  }
}

TEST(Sacrebleu, LowersEveryLineAsPythonDoes) {
  for (const json& pair : fixture()["lowered"]) {
    const auto line = pair[0].get<std::string>();
    EXPECT_EQ(encode_utf8(lower(decode_utf8(line).value())), pair[1].get<std::string>()) << line;
  }
}

// The draws differ, so mean, interval and p-value agree up to the noise of two runs of n = 1000 resamples.
// With s the score's standard deviation (the half width is 1.96 s): a mean has noise s / sqrt(n); a 2.5%
// quantile has sqrt(0.025 * 0.975 / n) / density = 2.7 s / sqrt(n), and the half width, half the difference
// of two, 1.9 s / sqrt(n); a p-value sqrt(p (1 - p) / n). Two runs have sqrt(2) of that; five times it is
// allowed.
TEST(Sacrebleu, AgreesOnIntervalsAndPValuesUpToResamplingNoise) {
  const json& data = fixture()["bootstrap"];
  const auto references = data["references"].get<std::vector<Lines>>();
  const auto baseline = data["systems"]["worse"].get<Lines>();
  const double runs = 5 * std::sqrt(2.0 / 1000);
  for (const char* name : {"better", "near"}) {
    const Comparison ours = compare(baseline, data["systems"][name].get<Lines>(), references);
    for (const auto& [metric, result] : {std::pair("BLEU", ours.bleu), std::pair("chrF2", ours.chrf)}) {
      SCOPED_TRACE(std::string(name) + " " + metric);
      const json& theirs = data["results"][metric];
      const auto expect_interval = [&](const Interval& interval, const json& expected) {
        const double deviation = expected["ci"].get<double>() / 1.96;
        EXPECT_NEAR(interval.mean, expected["mean"].get<double>(), runs * deviation);
        EXPECT_NEAR(interval.half_width(), expected["ci"].get<double>(), runs * 1.9 * deviation);
      };
      expect_interval(result.baseline, theirs["worse"]);
      expect_interval(result.system, theirs[name]);
      expect_same(result.system_score, theirs[name]["score"]);
      const double p = theirs[name]["p_value"];
      EXPECT_NEAR(result.p_value, p, runs * std::sqrt(p * (1 - p)));
    }
  }
}

}  // namespace
}  // namespace floe
