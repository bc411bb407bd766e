// Translation and scoring under a memory limit: what does not fit at once is split, and nothing else changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "device/device.h"
#include "testing/test_device.h"
#include "translate/engine.h"
#include "translate/model_session.h"
#include "translate/scorer.h"
#include "translate/small_models_for_test.h"

namespace floe {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

// `n` letters.
std::string words(size_t n, size_t first = 0) {
  std::string line;
  for (size_t i = 0; i < n; ++i) line += std::string(i > 0 ? " " : "") + "abcd"[(first + i * i) % 4];
  return line;
}

std::vector<std::string> lines_of_all_lengths() {
  std::vector<std::string> lines;
  for (size_t i = 0; i < 40; ++i) lines.push_back(words(1 + (i * 7) % 30, i));
  return lines;
}

TranslatorOptions beam(int64_t width) {
  TranslatorOptions options;
  options.search.beam = width;
  options.search.max_length = 20;
  return options;
}

struct Door {
  explicit Door(size_t limit = Device::kNoLimit) : device(open_test_device(1)) {
    device->set_memory_limit(limit);
    session = std::make_unique<ModelSession>(small_model(), *device);
    translator = std::make_unique<Translator>(
        session->translator(beam(4), [this](const std::string& warning) { warnings.push_back(warning); }));
  }
  std::vector<Translation> operator()(const std::vector<std::string>& lines) {
    return translator->translate(lines);
  }
  // What is in use when these have been translated, from the state before any was.
  size_t in_use_after(const std::vector<std::string>& lines) {
    session->engine().trim();
    (*this)(lines);
    const size_t bytes = device->memory_in_use();
    session->engine().trim();
    return bytes;
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<ModelSession> session;
  std::vector<std::string> warnings;
  std::unique_ptr<Translator> translator;
};

void expect_same(const std::vector<Translation>& a, const std::vector<Translation>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].candidates.size(), b[i].candidates.size()) << i;
    EXPECT_EQ(a[i].text(), b[i].text()) << i;
    EXPECT_EQ(a[i].candidates[0].log_probability, b[i].candidates[0].log_probability) << i;  // the same bits
  }
}

TEST(TranslationMemory, SplitsABatchThatDoesNotFitAndGivesTheSame) {
  const std::vector<std::string> lines = lines_of_all_lengths();
  Door free;
  const std::vector<Translation> want = free(lines);
  Door door;
  const size_t all = door.in_use_after(lines), one = door.in_use_after({words(30)});
  ASSERT_LT(one, all);
  for (const size_t limit : {one, one + (all - one) / 3, one + (all - one) * 3 / 4}) {
    door.device->set_memory_limit(limit);
    expect_same(door(lines), want);
    EXPECT_LE(door.device->memory_in_use(), limit);
    EXPECT_THAT(door.warnings, IsEmpty());
  }
}

TEST(TranslationMemory, FailsALineAloneThatDoesNotFitAlone) {
  Door free;
  const std::vector<std::string> lines = {"a b", words(30), "c", "d a"};
  const std::vector<Translation> want = free(lines);
  Door door;
  const size_t longest = door.in_use_after({lines[1]});
  const size_t shorter = std::max(door.in_use_after({lines[0]}), door.in_use_after({lines[3]}));
  ASSERT_LT(shorter, longest);
  door.device->set_memory_limit(shorter + (longest - shorter) / 2);
  const std::vector<Translation> got = door(lines);
  ASSERT_EQ(got.size(), 4u);
  ASSERT_TRUE(got[1].failure);
  EXPECT_THAT(*got[1].failure, AllOf(StartsWith("line 2 with 30 tokens was not translated: "),
                                     HasSubstr(" asked for with "), HasSubstr("above the memory limit of")));
  EXPECT_THAT(door.warnings, ElementsAre(*got[1].failure));
  for (const size_t k : {0u, 2u, 3u}) {
    EXPECT_FALSE(got[k].failure);
    EXPECT_EQ(got[k].text(), want[k].text());
  }
  // With more memory it is translated after all.
  door.device->set_memory_limit(Device::kNoLimit);
  expect_same(door(lines), want);
}

TEST(TranslationMemory, SizesTheCachesToFit) {
  const std::vector<std::string> lines = lines_of_all_lengths();
  Door free;
  const std::vector<Translation> want = free(lines);
  const size_t full = free.device->memory_in_use();
  int64_t rows = free.session->engine().room().rows;
  EXPECT_EQ(rows, test_device_kind() == DeviceKind::cuda ? 1024 : 256);
  size_t smaller = 0;
  for (const double part : {0.7, 0.4, 0.2}) {
    const auto limit = static_cast<size_t>(part * static_cast<double>(full));
    Door door(limit);
    EXPECT_LE(door.session->engine().room().rows, rows);
    smaller += door.session->engine().room().rows < rows ? 1 : 0;
    rows = door.session->engine().room().rows;
    EXPECT_EQ(rows % 4, 0);
    expect_same(door(lines), want);
    EXPECT_LE(door.device->memory_in_use(), limit);
    EXPECT_THAT(door.warnings, IsEmpty());
  }
  EXPECT_GE(smaller, 2u);
}

TEST(TranslationMemory, RefusesAModelThatCannotTranslateOneSentence) {
  const auto message = [](size_t limit) -> std::string {
    try {
      Door door(limit);
    } catch (const OutOfMemory& e) {
      return e.what();
    }
    return "no error";
  };
  Door free;
  const size_t weights = free.device->memory_in_use() - free.session->engine().cache_bytes();
  EXPECT_THAT(
      message(weights + 2000),
      AllOf(HasSubstr("to translate one sentence of the greatest length (32 tokens) with a beam of 4 takes "),
            HasSubstr(" beside what is in use; "), HasSubstr("left of a memory limit of ")));
  EXPECT_THAT(message(1000), HasSubstr("above the memory limit of 1000 bytes"));
}

TEST(ScoringMemory, SplitsPairsThatDoNotFitAndGivesTheSame) {
  const std::vector<std::string> lines = lines_of_all_lengths();
  const auto fail = [](const std::string& warning) { ADD_FAILURE() << warning; };
  const auto scores_in = [&](Scorer& scorer, const std::vector<std::string>& texts) {
    std::vector<double> out;
    for (const PairScore& score : scorer.score(texts, texts)) out.push_back(score.log_probability);
    return out;
  };
  const auto device = open_test_device(1);
  Scorer scorer(small_model(), {}, *device, fail);
  scores_in(scorer, {words(30)});
  const size_t one = device->memory_in_use();
  const std::vector<double> want = scores_in(scorer, lines);
  ASSERT_LT(one, device->memory_in_use());

  const auto limited = open_test_device(1);
  Scorer small(small_model(), {}, *limited, fail);
  limited->set_memory_limit(limited->memory_in_use());
  try {
    scores_in(small, {"a", "a b c"});
    FAIL();
  } catch (const OutOfMemory& e) {
    EXPECT_THAT(e.what(), AllOf(StartsWith("line "), HasSubstr("tokens was not scored: ")));
  }
  limited->set_memory_limit(one);
  EXPECT_EQ(scores_in(small, lines), want);
  EXPECT_LE(limited->memory_in_use(), one);
}

}  // namespace
}  // namespace floe
