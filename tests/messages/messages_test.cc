// What the program says, with which exit code, and what it leaves behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "frontend/onnx_for_test.h"
#include "interop/ct2_writer_for_test.h"
#include "tensor/npz.h"
#include "tensor/safetensors.h"
#include "text/temp_files_for_test.h"
#include "text/utf8.h"
#include "translate/small_models_for_test.h"

namespace floe {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

struct Outcome {
  int code = 0;
  std::string out, err;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    EXPECT_NE(end, std::string::npos) << "the last line has no end";
    if (end == std::string::npos) break;
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

class Messages : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TempFiles;
    save_model(shared_->path("letters"), small_model());
    save_model(shared_->path("cats"), small_sentencepiece_model());
  }
  static void TearDownTestSuite() { delete shared_; }

  // `arguments` stand in a shell's command line.
  Outcome floe(const std::string& arguments, const std::string& input = "") const {
    const std::string in = files_.write("stdin", input);
    const std::string command = std::string("'") + FLOE_PROGRAM + "' " + arguments + " <" + in + " >" +
                                path("stdout") + " 2>" + path("stderr");
    const int status = std::system(command.c_str());
    EXPECT_TRUE(WIFEXITED(status)) << "ended by a signal: " << command;
    return {WEXITSTATUS(status), read_file(path("stdout")), read_file(path("stderr"))};
  }
  // Refused in one line, nothing on standard output, no output file.
  void expect_refusal(const std::string& arguments, int code,
                      const testing::Matcher<std::string>& message) const {
    const Outcome got = floe(arguments + " ");
    EXPECT_EQ(got.code, code) << got.err;
    EXPECT_THAT(got.out, IsEmpty());
    const auto lines = lines_of(got.err);
    ASSERT_EQ(lines.size(), 1u) << got.err;
    EXPECT_THAT(lines[0], AllOf(StartsWith("floe: "), message));
    for (const auto& entry : std::filesystem::directory_iterator(files_.path("")))
      EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr("written")));
  }
  std::string path(const std::string& name) const { return files_.path(name); }
  std::string model() const { return shared_->path("letters"); }
  // A copy of the model to damage.
  std::string copy() const {
    std::filesystem::copy(model(), path("copy"), std::filesystem::copy_options::recursive);
    return path("copy");
  }
  std::string translate(const std::string& more) const {
    return "translate --model " + model() + " --output " + path("written") + " " + more;
  }

  TempFiles files_;
  static TempFiles* shared_;
};
TempFiles* Messages::shared_ = nullptr;

TEST_F(Messages, GiveAsManyLinesAsThereWere) {
  const std::string input =
      "a b\n\n \t\nc\xFF d\n\xE3\x80\x80\nb zebra a b c d a b c d a b c d a b c d a b c d a b c d a b c\na";
  const Outcome got = floe("translate --model " + model(), input);
  EXPECT_EQ(got.code, 0) << got.err;
  const auto lines = lines_of(got.out);
  ASSERT_EQ(lines.size(), 7u);
  EXPECT_EQ(lines[1], "");
  EXPECT_EQ(lines[2], "");
  EXPECT_EQ(lines[4], "");
  for (const std::string& line : lines) EXPECT_TRUE(is_valid_utf8(line));
  EXPECT_FALSE(lines[0].empty());
  EXPECT_EQ(got.err, "");
}

TEST_F(Messages, WarnOnceOfALongLineAndGoOn) {
  std::string input = "a\n";
  for (int i = 0; i < 50; ++i) input += "b ";
  const Outcome got = floe("translate --model " + model(), input + "\nc\n");
  EXPECT_EQ(got.code, 0);
  EXPECT_EQ(lines_of(got.out).size(), 3u);
  EXPECT_EQ(got.err,
            "floe: warning: standard input: line 2 has 50 tokens; the model takes 31, and what follows them "
            "is left "
            "out\n");
}

TEST_F(Messages, RefuseALongLineWhenStrictAndWriteNothing) {
  std::string line;
  for (int i = 0; i < 50; ++i) line += "b ";
  expect_refusal(translate("--strict --input " + files_.write("long", "a\n" + line + "\n")), 1,
                 EndsWith("line 2 has 50 tokens; the model takes 31"));
}

TEST_F(Messages, NumberALongLineFarIntoAFile) {
  std::string input;
  for (int line = 1; line <= 3000; ++line) {
    if (line == 581 || line == 2900) {
      for (int i = 0; i < 40; ++i) input += "c ";
    }
    input += "a\n";
  }
  const Outcome got = floe("translate --beam 1 --model " + model(), input);
  EXPECT_EQ(got.code, 0);
  EXPECT_EQ(lines_of(got.out).size(), 3000u);
  EXPECT_THAT(lines_of(got.err),
              ElementsAre(AllOf(HasSubstr("warning"), HasSubstr("line 581 has 41 tokens")),
                          AllOf(HasSubstr("warning"), HasSubstr("line 2900 has 41 tokens"))));
}

TEST_F(Messages, OfBlankLinesAreBlankWhateverTheirSpaces) {
  const std::string input = "\n \n   \n\t\n\xC2\xA0\n\xE2\x80\x8B\n\xEF\xBB\xBF\n";
  for (const char* options : {"--beam 1", "--beam 4 --n-best 2", "--sample"}) {
    const Outcome got = floe("translate --scores --model " + model() + " " + options, input);
    EXPECT_EQ(got.code, 0) << got.err;
    EXPECT_THAT(lines_of(got.out), testing::AllOf(testing::SizeIs(7), testing::Each(EndsWith("\t0.000000"))))
        << got.out;
    EXPECT_EQ(got.out.find_first_of("abcd"), std::string::npos) << got.out;
  }
  const std::string source = files_.write("source", input),
                    target = files_.write("target", "a\na\na\na\na\na\na\n");
  const Outcome scored = floe("score --model " + model() + " --source " + source + " --target " + target);
  EXPECT_THAT(lines_of(scored.out),
              testing::AllOf(testing::SizeIs(7), testing::Each("0.000000\t0.000000\t0")));
}

TEST_F(Messages, OfLanguageTagsAloneAreBlank) {
  ModelFile tagged = small_model();
  tagged.text.tags = {"d"};
  save_model(path("tagged"), tagged);
  const auto lines = lines_of(floe("translate --model " + path("tagged"), "d\nd a\n d d \n").out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "");
  EXPECT_NE(lines[1], "");
  EXPECT_EQ(lines[2], "");
}

TEST_F(Messages, NoCandidateOfALineWithInkIsEmpty) {
  const Outcome got = floe("translate --json --n-best 4 --model " + model(), "a\nb c\nd d d\n");
  ASSERT_EQ(got.code, 0) << got.err;
  for (const std::string& line : lines_of(got.out)) {
    const auto parsed = nlohmann::json::parse(line);
    for (const auto& candidate : parsed["translations"]) EXPECT_FALSE(candidate["tokens"].empty()) << line;
  }
}

TEST_F(Messages, ALineOfRepeatedMarksTakesNothingFromItsNeighbours) {
  std::string marks;
  for (int i = 0; i < 363; ++i) marks += "d ";
  const std::string command = "translate --batch-tokens 16 --model " + model();
  const auto plain = lines_of(floe(command, "a b\nc\na\n").out);
  const Outcome got = floe(command, "a b\n" + marks + "\nc\na\n");
  EXPECT_EQ(got.code, 0) << got.err;
  const auto lines = lines_of(got.out);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_THAT((std::vector<std::string>{lines[0], lines[2], lines[3]}), testing::ElementsAreArray(plain));
}

TEST_F(Messages, AProfileOfATranslationAddsUp) {
  const Outcome got = floe(
      "profile translate --runs 2 --beam 2 --model " + model() + " --json " + path("profile"), "a b c\nd\n");
  ASSERT_EQ(got.code, 0) << got.err;
  EXPECT_THAT(got.out, StartsWith("translation of 2 lines with "));
  const auto profile = nlohmann::json::parse(read_file(path("profile")));
  double sum = 0;
  std::map<std::string, double> calls;
  for (const auto& line : profile["lines"]) {
    sum += line["ms"].get<double>();
    calls[line["op"]] += line["calls"].get<double>();
  }
  EXPECT_NEAR(sum, profile["sum_ms"].get<double>(), 1e-9 * sum);
  EXPECT_GT(calls["attention"], 0);        // of the encoder
  EXPECT_GT(calls["paged_attention"], 0);  // of the steps
  expect_refusal("profile translate --model " + model() + " --output " + path("written"), 1,
                 EndsWith("standard input: there is nothing to translate"));
  expect_refusal("profile translate --runs 0 --model " + model(), 2, HasSubstr("--runs is 0"));
}

TEST_F(Messages, DosLineEndsChangeNothing) {
  const std::string want = floe("translate --model " + model(), "a b\n\nc d\n").out;
  EXPECT_EQ(floe("translate --model " + model(), "a b\r\n\r\nc d\r\n").out, want);
  const std::string folder = copy();
  bool any = false;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".txt") continue;
    any = true;
    std::string dos;
    for (const char c : read_file(entry.path().string())) dos += c == '\n' ? "\r\n" : std::string(1, c);
    write_file(entry.path().string(), dos);
  }
  ASSERT_TRUE(any);
  EXPECT_EQ(floe("translate --model " + folder, "a b\n\nc d\n").out, want);
}

TEST_F(Messages, RefuseInvalidUtf8WhenStrict) {
  expect_refusal(translate("--strict --input " + files_.write("bytes", "a\nb \xC3(\n")), 1,
                 EndsWith("bytes: line 2 is not valid UTF-8"));
  const Outcome got = floe("translate --strict --model " + model(), "\xFF\n");
  EXPECT_EQ(got.code, 1);
  EXPECT_EQ(got.err, "floe: standard input: line 1 is not valid UTF-8\n");
  const std::string good = files_.write("good", "a\n"), bad = files_.write("bad", "\xFF\n");
  expect_refusal("score --strict --model " + model() + " --source " + good + " --target " + bad, 1,
                 EndsWith("bad: line 1 is not valid UTF-8"));
  expect_refusal(translate("--strict --input " + good + " --prefix " + bad), 1,
                 EndsWith("bad: line 1 is not valid UTF-8"));
}

TEST_F(Messages, OfAnEmptyFileAreNone) {
  const Outcome got = floe(translate("--input " + files_.write("empty", "")));
  EXPECT_EQ(got.code, 0);
  EXPECT_EQ(got.err, "");
  EXPECT_EQ(read_file(path("written")), "");
}

TEST_F(Messages, TheSameTextWithAndWithoutCacheAndBatches) {
  const std::string input = "a b c d\nd\nb b a\nc c\n\nd a\n";
  const std::string command = "translate --model " + shared_->path("cats") + " --scores ";
  const std::string expected = floe(command, input).out;
  EXPECT_EQ(lines_of(expected).size(), 6u);
  EXPECT_EQ(floe(command + "--batch-tokens 1", input).out, expected);
  EXPECT_EQ(floe(command + "--threads 1", input).out, expected);
  EXPECT_EQ(floe(command + "--no-kv-cache", input).out, expected);
}

TEST_F(Messages, SamplesRepeatWithTheirSeed) {
  const std::string input = "a b\nc\nd d d\n";
  const std::string command = "translate --sample --n-best 2 --seed 5 --model " + model();
  const Outcome got = floe(command, input);
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(floe(command + " --batch-tokens 1", input).out, got.out);
  EXPECT_NE(floe("translate --sample --n-best 2 --seed 6 --model " + model(), input).out, got.out);
}

TEST_F(Messages, JsonNamesEverything) {
  const Outcome got = floe("translate --json --alignments soft --n-best 2 --model " + model(), "a b\n\n");
  ASSERT_EQ(got.code, 0) << got.err;
  const auto lines = lines_of(got.out);
  ASSERT_EQ(lines.size(), 2u);
  const auto json = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(json["line"], 1);
  EXPECT_EQ(json["source_tokens"], (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(json["translations"].size(), 2u);
  EXPECT_GE(json["translations"][0]["score"].get<double>(), json["translations"][1]["score"].get<double>());
  for (const auto& translation : json["translations"]) {
    ASSERT_EQ(translation["alignment"].size(), translation["tokens"].size());
    for (const auto& row : translation["alignment"]) {
      ASSERT_EQ(row.size(), 2u);
      EXPECT_NEAR(row[0].get<double>() + row[1].get<double>(), 1, 1e-6);
    }
  }
  EXPECT_EQ(nlohmann::json::parse(lines[1])["translations"][0]["text"], "");
}

TEST_F(Messages, AlignmentsAreOnePairAToken) {
  const Outcome got =
      floe("translate --alignments hard --model " + model() + " --min-length 3 --max-length 3", "a b\n");
  ASSERT_EQ(got.code, 0) << got.err;
  const std::string pairs = lines_of(got.out)[0].substr(got.out.find('\t') + 1);
  EXPECT_EQ(std::count(pairs.begin(), pairs.end(), '-'), 3);
}

TEST_F(Messages, PrefixesBeginTheirTranslations) {
  const std::string prefix = files_.write("prefix", "d d\n\nc\n");
  const Outcome got = floe("translate --model " + model() + " --prefix " + prefix, "a\n\nb\n");
  ASSERT_EQ(got.code, 0) << got.err;
  const auto lines = lines_of(got.out);
  EXPECT_THAT(lines[0], StartsWith("d d"));
  EXPECT_EQ(lines[1], "");
  EXPECT_THAT(lines[2], StartsWith("c"));
}

TEST_F(Messages, RefusePrefixesOfAnotherNumberBeforeAnyWork) {
  const std::string input = files_.write("input", "a\nb\nc\n"), prefix = files_.write("prefix", "a\nb\n");
  expect_refusal(translate("--input " + input + " --prefix " + prefix), 1,
                 AllOf(HasSubstr(input), HasSubstr(prefix), HasSubstr("3"), HasSubstr("2")));
}

TEST_F(Messages, NameTheFileThatIsMissing) {
  expect_refusal("translate --model " + path("nowhere"), 1,
                 HasSubstr("there is no model in " + path("nowhere") + ": no such folder"));
  expect_refusal(translate("--input " + path("nothing")), 1, HasSubstr("cannot open " + path("nothing")));
  expect_refusal("translate --model " + model() + " --output " + path("no/where"), 1,
                 HasSubstr(path("no/where")));
  expect_refusal("evaluate --hypotheses " + path("nothing") + " --references " + path("nothing"), 1,
                 HasSubstr("cannot open " + path("nothing")));
  expect_refusal("score --model " + model() + " --source " + path("s") + " --target " + path("t"), 1,
                 HasSubstr("cannot open " + path("s")));
}

TEST_F(Messages, NameWhatIsWrongInAModel) {
  const std::string folder = copy();
  const std::string command = "translate --model " + folder + " --output " + path("written");
  const std::string weights = folder + "/model.safetensors";
  const std::string bytes = read_file(weights);
  write_file(weights, bytes.substr(0, bytes.size() - 1));
  expect_refusal(command, 1, HasSubstr(weights));
  write_file(weights, bytes.substr(0, 5));
  expect_refusal(command, 1, HasSubstr(weights));
  const Tensor wrong(DType::f32, {2, 2});
  const std::vector<NamedTensor> rows = {{"decoder.0.feed_forward.up.weight", view_of(wrong)}};
  write_safetensors(weights, rows);
  expect_refusal(command, 1, HasSubstr("tensor '"));
  write_file(folder + "/config.json", "{\"format_version\": 99}");
  expect_refusal(command, 1, HasSubstr("format_version: 99 is newer than 1"));
  write_file(folder + "/config.json", "{");
  expect_refusal(command, 1, HasSubstr("config.json:1: not valid JSON"));
  std::filesystem::permissions(folder + "/config.json", std::filesystem::perms::none);
  if (::access((folder + "/config.json").c_str(), R_OK) != 0)  // root reads everything
    expect_refusal(command, 1, HasSubstr("cannot open " + folder + "/config.json"));
}

TEST_F(Messages, NameTheDamagedTensorOfAForeignModel) {
  ModelConfig config = small_config(8);
  config.norm_placement = NormPlacement::pre;
  config.tied = Tied::none;
  config.output_bias = true;
  const std::string folder = path("foreign");
  std::filesystem::create_directory(folder);
  for (const char* side : {"/source", "/target"})
    write_file(folder + side + "_vocabulary.txt", "<blank>\n<s>\n</s>\na\nb\nc\nd\n");
  const Ct2Writer writer = write_ct2(config, initial_weights(config, 3), /*int8=*/false);
  const std::string command = "translate --model " + folder + " --output " + path("written");
  write_file(folder + "/model.bin", writer.bytes());
  const Outcome whole = floe("translate --model " + folder, "a b\n\nc\n");
  EXPECT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(lines_of(whole.out).size(), 3u);

  const std::string name = writer.entries.back().name;  // the last of the file
  write_file(folder + "/model.bin", writer.bytes().substr(0, writer.bytes().size() - 1));
  expect_refusal(command, 1, AllOf(HasSubstr("model.bin"), HasSubstr("'" + name + "'")));
  const auto damaged = [&](auto&& change) {
    Ct2Writer other = writer;
    change(other.entry("decoder/projection/weight"));
    write_file(folder + "/model.bin", other.bytes());
    expect_refusal(command, 1, AllOf(HasSubstr("model.bin"), HasSubstr("'decoder/projection/weight'")));
  };
  damaged([](Ct2Entry& e) { e.dims = {0xFFFFFFFF, 0xFFFFFFFF}; });
  damaged([](Ct2Entry& e) { e.dims.assign(200, 1); });
  damaged([](Ct2Entry& e) { e.dims = {8, 9}; });
}

TEST_F(Messages, NameTheOptionAndTheNearest) {
  expect_refusal(translate("--beem 3"), 2, EndsWith("translate has no option --beem; did you mean --beam?"));
  expect_refusal(translate("--lenght-penalty=1"), 2,
                 EndsWith("--lenght-penalty; did you mean --length-penalty?"));
  expect_refusal(translate("--quicksilver"), 2, EndsWith("translate has no option --quicksilver"));
  expect_refusal(translate("file.txt"), 2, EndsWith("translate takes no argument 'file.txt'"));
  expect_refusal("trasnlate", 2, EndsWith("there is no command 'trasnlate'; did you mean translate?"));
  expect_refusal("", 2, EndsWith("which command? 'floe --help' lists them"));
  expect_refusal("translate", 2, EndsWith("--model is missing"));
  expect_refusal(translate("--beam many"), 2, AllOf(HasSubstr("--beam"), HasSubstr("many")));
  expect_refusal(translate("--temperature 2"), 2, EndsWith("--temperature requires --sample"));
  expect_refusal(translate("--alignments loose"), 2, EndsWith("--alignments is hard or soft, not 'loose'"));
  expect_refusal(translate("--threads -1"), 2, EndsWith("--threads is -1; it must lie between 1 and 1024"));
  expect_refusal("inspect --graph stop --model " + model(), 2,
                 EndsWith("there is no graph 'stop'; there are train, score, encode, step and search"));
  expect_refusal("inspect --print-after lunch --model " + model(), 2, HasSubstr("there is no pass 'lunch'"));
  expect_refusal("inspect --print java --model " + model(), 2,
                 EndsWith("--print is numpy or cpp, not 'java'"));
  expect_refusal("inspect --print cpp --graph score --sizes B=2 --model " + model(), 2,
                 EndsWith("--sizes: the graph has these sizes too: S T"));
  expect_refusal("inspect --print numpy --graph step --model " + model(), 1,
                 EndsWith("[print] op 'paged_attention' in decoder.0.self_attention has no printed form"));
  expect_refusal("evaluate --references x", 2, HasSubstr("either --hypotheses, or --model and --source"));
}

TEST_F(Messages, NameTheValueThatCannotBe) {
  expect_refusal(translate("--beam 9"), 1,
                 EndsWith("beam is 9, but the target vocabulary has only 8 tokens"));
  expect_refusal(translate("--beam 0"), 1, EndsWith("beam must be at least 1, got 0"));
  expect_refusal(translate("--n-best 5 --beam 2"), 1, HasSubstr("n_best is 5"));
  expect_refusal(translate("--suppress zebra"), 1, EndsWith("'zebra' is not in the target vocabulary"));
  expect_refusal(translate("--batch-tokens 0"), 1, EndsWith("batch_tokens must be at least 1, got 0"));
  expect_refusal(translate("--split-sentences --n-best 2"), 1, HasSubstr("n_best is 2"));
  expect_refusal(translate("--split-sentences --language '!!'"), 1, HasSubstr("!!"));
}

TEST_F(Messages, NameAnAmountOfMemoryThatIsNone) {
  const char* what =
      "--memory-limit: '4GB' is no amount of memory: a number of bytes above 0, or a number with KiB, MiB, "
      "GiB or "
      "TiB";
  expect_refusal(translate("--memory-limit 4GB"), 2, EndsWith(what));
  const std::string text = files_.write("text", "a b\n");
  expect_refusal("score --memory-limit 4GB --source " + text + " --target " + text + " --model " + model(), 2,
                 EndsWith(what));
  expect_refusal(
      "evaluate --memory-limit 4GB --source " + text + " --references " + text + " --model " + model(), 2,
      EndsWith(what));
  expect_refusal(
      translate("--memory-limit 20KiB"), 1,
      AllOf(HasSubstr("to translate one sentence of the greatest length (32 tokens) with a beam of "),
            EndsWith("are left of a memory limit of 20KiB")));
  expect_refusal("score --memory-limit 10KiB --source " + text + " --target " + text + " --model " + model(),
                 1, HasSubstr("above the memory limit of 10.00 KiB"));
}

TEST_F(Messages, AMemoryLimitChangesNoTranslation) {
  std::string input;
  for (int i = 0; i < 60; ++i) {
    for (int k = 0; k <= i % 25; ++k) input += "abcd"[(i + k * k) % 4] + std::string(" ");
    input += "\n";
  }
  const std::string run = "translate --scores --model " + model();
  const Outcome free = floe(run, input), limited = floe(run + " --memory-limit 0.4MiB", input);
  EXPECT_EQ(limited.code, 0) << limited.err;
  EXPECT_EQ(limited.out, free.out);
  EXPECT_EQ(limited.err, "");
  const std::string source = files_.write("source", input);
  const std::string score = "score --model " + model() + " --source " + source + " --target " + source;
  EXPECT_EQ(floe(score + " --memory-limit 0.4MiB").out, floe(score).out);
}

TEST_F(Messages, NameWhatTrainingLacks) {
  const std::string run = "--output " + path("written");
  expect_refusal("train --max-update 3 " + run, 2,
                 EndsWith("train has no option --max-update; did you mean --max-updates?"));
  expect_refusal("train --max-updates x " + run, 1,
                 EndsWith("option max_updates: 'x' is not a whole number"));
  expect_refusal("train " + run, 1, EndsWith("option train_source: no file to train on"));
}

TEST_F(Messages, LeaveAnEarlierOutputAsItWas) {
  const std::string earlier = files_.write("earlier", "precious\n");
  EXPECT_EQ(
      floe("translate --model " + model() + " --input " + path("nothing") + " --output " + earlier).code, 1);
  EXPECT_EQ(read_file(earlier), "precious\n");
  EXPECT_EQ(floe("translate --model " + model() + " --output " + earlier, "a\n").code, 0);
  EXPECT_NE(read_file(earlier), "precious\n");
}

TEST_F(Messages, EvaluatePrintsScoresWithSignatures) {
  const std::string text = files_.write("text", "the cat sat on the mat\n");
  const Outcome got = floe("evaluate --hypotheses " + text + " --references " + text + " " + text);
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_THAT(lines_of(got.out), ElementsAre(AllOf(StartsWith("BLEU|nrefs:2|"), HasSubstr("100.00")),
                                             AllOf(StartsWith("chrF2|nrefs:2|"), HasSubstr("100.00")),
                                             AllOf(StartsWith("chrF2++|nrefs:2|"), HasSubstr("100.00"))));
  const Outcome json = floe("evaluate --json --lowercase --hypotheses " + text + " --references " + text);
  EXPECT_NEAR(nlohmann::json::parse(json.out)["bleu"].get<double>(), 100, 1e-9);
  const std::string longer = files_.write("longer", "the cat\nsat\n");
  expect_refusal("evaluate --hypotheses " + text + " --references " + longer, 1,
                 AllOf(HasSubstr("1"), HasSubstr("2")));
  expect_refusal("evaluate --tokenizer words --hypotheses " + text + " --references " + text, 1,
                 HasSubstr("13a"));
}

TEST_F(Messages, EvaluateTranslatesWithAModel) {
  const std::string source = files_.write("source", "a b\n\nc\n");
  const Outcome translated = floe("translate --model " + model(), "a b\n\nc\n");
  const std::string reference = files_.write("reference", translated.out);
  const Outcome got =
      floe("evaluate --json --model " + model() + " --source " + source + " --references " + reference);
  ASSERT_EQ(got.code, 0) << got.err;
  EXPECT_NEAR(nlohmann::json::parse(got.out)["chrf"].get<double>(), 100, 1e-9);
}

TEST_F(Messages, ScorePrintsALineAPairAndThePerplexity) {
  const std::string source = files_.write("source", "a b\n\nc d\n"),
                    target = files_.write("target", "b\na\nd c a\n");
  const Outcome got = floe("score --model " + model() + " --source " + source + " --target " + target);
  ASSERT_EQ(got.code, 0) << got.err;
  const auto lines = lines_of(got.out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], AllOf(StartsWith("-"), EndsWith("\t2")));
  EXPECT_EQ(lines[1], "0.000000\t0.000000\t0");
  EXPECT_THAT(lines[2], AllOf(StartsWith("-"), EndsWith("\t4")));
  EXPECT_THAT(got.err, AllOf(HasSubstr("1 of 3 pairs have a blank side"), HasSubstr("2 pairs, 6 tokens"),
                             HasSubstr("perplexity")));
  expect_refusal(
      "score --model " + model() + " --source " + source + " --target " + files_.write("short", "a\n"), 1,
      AllOf(HasSubstr("3"), HasSubstr("1")));
}

TEST_F(Messages, InspectShowsGraphProgramAndMemory) {
  const std::string dot = path("graph.dot");
  const Outcome got = floe("inspect --graph score --print-after all --program --memory B=2 S=4 T=5 --dot " +
                           dot + " --model " + model());
  ASSERT_EQ(got.code, 0) << got.err;
  EXPECT_THAT(got.out, AllOf(HasSubstr("graph \""), HasSubstr("parameters"), HasSubstr("program")));
  EXPECT_THAT(read_file(dot), HasSubstr("digraph"));
  EXPECT_EQ(floe("inspect --graph score --memory B=x --model " + model()).code, 2);
  const Outcome missing = floe("inspect --graph score --memory B=2 --model " + model());
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.err, EndsWith("--memory: the graph has these sizes too: S T\n"));
}

TEST_F(Messages, InspectPrintsAGraphAsASource) {
  const Outcome numpy = floe("inspect --print numpy --graph train --model " + model());
  ASSERT_EQ(numpy.code, 0) << numpy.err;
  EXPECT_THAT(numpy.out,
              AllOf(StartsWith("import numpy as np\n"), HasSubstr("\ndef train(inputs, states):\n"),
                    EndsWith("    return outputs, {**states, **updated}\n")));
  const Outcome cpp =
      floe("inspect --print cpp --graph encode --sizes B=2 S=4 W=1 cross_blocks=3 --model " + model());
  ASSERT_EQ(cpp.code, 0) << cpp.err;
  EXPECT_THAT(cpp.out, HasSubstr("extern \"C\" int encode(const void* const* inputs"));
}

TEST_F(Messages, OfAPublishedModelAreItsPublishedTranslations) {
  const std::string folder = FLOE_SOURCE_DIR "/../shared/data/ct2-aren-transliteration";
  if (!file_exists(folder + "/model.bin")) GTEST_SKIP() << folder << "/model.bin is absent";
  for (const char* beam : {"1", "2", "4"}) {
    const Outcome got =
        floe("translate --scores --model " + folder + " --beam " + beam, "آتزمون\nآ ت ش ي س و ن\n\nآزا\n");
    const auto lines = lines_of(got.out);
    ASSERT_EQ(lines.size(), 4u) << got.err;
    EXPECT_THAT(lines[0], StartsWith("atzmon\t-0.1516"));
    EXPECT_THAT(lines[1], StartsWith("achison\t-0.1391"));
    EXPECT_EQ(lines[2], "\t0.000000");
    EXPECT_THAT(lines[3], StartsWith("azza\t"));
  }
}

TEST_F(Messages, ConvertWritesTheSameModelWithNarrowerWeights) {
  const std::string half = path("half");
  const Outcome got = floe("convert --model " + model() + " --store f16 --output " + half);
  ASSERT_EQ(got.code, 0) << got.err;
  EXPECT_LT(std::filesystem::file_size(half + "/model.safetensors"),
            0.7 * static_cast<double>(std::filesystem::file_size(model() + "/model.safetensors")));
  EXPECT_EQ(floe("translate --model " + half, "a\n").out, floe("translate --model " + model(), "a\n").out);
  expect_refusal("convert --model " + model() + " --output " + half, 1, EndsWith("half is there already"));
  expect_refusal("convert --model " + model() + " --store i8 --output " + path("other"), 2,
                 HasSubstr("f32, bf16 or f16, not as i8"));
}

TEST_F(Messages, RunVerifyAndCompileTakeOnnxModels) {
  OnnxText text;
  text.input("x", {-1, 2}).output("y").floats("w", {2}, {1, 10});
  text.node("Mul", {"x", "w"}, {"h"}).node("Relu", {"h"}, {"y"});
  const std::string onnx = path("small.onnx"), arrays = path("x.npz");
  write_file(onnx, text.bytes());
  const Tensor x = Tensor::from_floats({2, 2}, {1, 2, -3, 4});
  const std::vector<NamedTensor> named = {{"x", view_of(x)}};
  write_npz(arrays, named);
  EXPECT_EQ(floe("run " + onnx + " --input " + arrays).out, "y: f32[2, 2] 1 20 0 40\n");
  const Outcome verified = floe("verify " + onnx + " --sizes n=3");
  EXPECT_EQ(verified.code, 0) << verified.out << verified.err;
  EXPECT_THAT(verified.out, HasSubstr("cpu    y                        ok  worst error 0"));
  const Outcome compiled = floe("compile " + onnx + " --print-after fuse");
  EXPECT_THAT(compiled.out,
              AllOf(HasSubstr("2 nodes, 0 weights"), HasSubstr("relu(%"), HasSubstr("program: 1 steps")));

  expect_refusal("run --input " + arrays, 2, HasSubstr("MODEL is missing"));
  expect_refusal("run " + path("none.onnx") + " --input " + arrays, 1, HasSubstr("cannot open"));
  write_file(onnx, text.bytes().substr(0, 40));
  expect_refusal("verify " + onnx, 1, HasSubstr("small.onnx: damaged or cut short, no ONNX file"));
  write_file(onnx, OnnxText().input("x", {2}).output("y").node("Foo", {"x"}, {"y"}).bytes());
  expect_refusal("compile " + onnx, 1, EndsWith("operators that are not supported: Foo in 'Foo_y'"));
  expect_refusal("compile " + onnx + " --target tpu", 2,
                 HasSubstr("--target is cpu, cuda or numpy, not 'tpu'"));
  expect_refusal("compile " + onnx + " --skip lunch", 2, HasSubstr("there is no pass 'lunch'"));
}

TEST_F(Messages, HelpAndVersionGoToStandardOutput) {
  for (const char* arguments : {"--help", "translate --help", "--version", "version"}) {
    const Outcome got = floe(arguments);
    EXPECT_EQ(got.code, 0) << arguments;
    EXPECT_EQ(got.err, "") << arguments;
    EXPECT_THAT(got.out, testing::Not(IsEmpty())) << arguments;
  }
}

}  // namespace
}  // namespace floe
