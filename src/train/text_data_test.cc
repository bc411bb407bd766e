#include "train/text_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Texts {
  TempFolder folder;
  TrainOptions options;
  std::vector<std::string> notes;

  Texts() {
    std::string source, target;
    for (const char* line : {"a small house", "the green house is small", "small small houses", "a house"}) {
      for (int i = 0; i < 10; ++i) source += std::string(line) + "\n";
      for (int i = 0; i < 10; ++i) target += std::string(line) + " there\n";
    }
    write_file(folder.file("a.src"), source);
    write_file(folder.file("a.tgt"), target);
    options.train_source = {folder.file("a.src")};
    options.train_target = {folder.file("a.tgt")};
    options.output = folder.path();
    options.vocabulary_size = 20;
  }
  TrainTokenizers tokenizers() {
    return prepare_tokenizers(options, [this](const std::string& line) { notes.push_back(line); });
  }
};

// Source and target ids of every pair as an epoch has them.
std::vector<std::vector<int32_t>> epoch(TrainingText& text, uint64_t seed, uint64_t number) {
  const PairCorpus pairs = text.pairs();
  pairs.order(seed, number);
  std::vector<std::vector<int32_t>> out;
  for (size_t i = 0; i < pairs.size; ++i) {
    out.emplace_back(pairs.source(i).begin(), pairs.source(i).end());
    out.emplace_back(pairs.target(i).begin(), pairs.target(i).end());
  }
  return out;
}

TEST(TrainingText, SamplesOtherPiecesInEachEpochAndTheSameAgain) {
  Texts texts;
  texts.options.subword_alpha = 0.2;
  const TrainTokenizers tokenizers = texts.tokenizers();
  TrainingText text(texts.options, tokenizers);
  const auto first = epoch(text, 1, 1), second = epoch(text, 1, 2);
  EXPECT_NE(first, second);
  EXPECT_EQ(epoch(text, 1, 1), first) << "going back to an epoch";
  TrainingText other(texts.options, tokenizers);
  EXPECT_EQ(epoch(other, 1, 2), second) << "without the epoch before";
  EXPECT_NE(epoch(other, 2, 3), epoch(text, 1, 3)) << "another seed";
  for (size_t i = 0; i < first.size(); ++i)
    EXPECT_EQ(tokenizers.source->decode(first[i]), tokenizers.source->decode(second[i]));
}

TEST(TrainingText, IsTheSameInEveryEpochWithoutSampling) {
  Texts texts;
  TrainingText text(texts.options, texts.tokenizers());
  EXPECT_EQ(epoch(text, 1, 1), epoch(text, 1, 2));
}

TEST(TrainingText, LeavesOutPairsThatHaveNoRoomForTheirEnd) {
  Texts texts;
  const TrainTokenizers tokenizers = texts.tokenizers();
  TrainingText all(texts.options, tokenizers);
  const auto ids = epoch(all, 1, 1);
  size_t longest = 0;
  for (const auto& sentence : ids) longest = std::max(longest, sentence.size());
  texts.options.batch.max_length = static_cast<int64_t>(longest) + 1;
  EXPECT_EQ(TrainingText(texts.options, tokenizers).report().parts[0].too_long, 0u);
  texts.options.batch.max_length = static_cast<int64_t>(longest);
  EXPECT_EQ(TrainingText(texts.options, tokenizers).report().parts[0].too_long, 10u);
}

TEST(Tokenizers, AreTrainedOnceAndLoadedThen) {
  Texts texts;
  const TrainTokenizers first = texts.tokenizers();
  EXPECT_TRUE(first.joint());
  const std::string bytes = read_file(texts.folder.file("tokenizer.model"));
  texts.options.vocabulary_size = 19;
  texts.notes.clear();
  EXPECT_EQ(texts.tokenizers().source->size(), 20);
  EXPECT_EQ(read_file(texts.folder.file("tokenizer.model")), bytes);
  EXPECT_THAT(texts.notes,
              ElementsAre(HasSubstr("tokenizer.model: 20 pieces"), HasSubstr("vocabulary_size 19")));
}

TEST(Tokenizers, AreTwoWhenTwoAreNamed) {
  Texts texts;
  texts.options.source_tokenizer = texts.folder.file("s.model");
  texts.options.target_tokenizer = texts.folder.file("t.model");
  const TrainTokenizers two = texts.tokenizers();
  EXPECT_FALSE(two.joint());
  EXPECT_EQ(two.source->bytes(), read_file(texts.folder.file("s.model")));
  EXPECT_EQ(two.target->bytes(), read_file(texts.folder.file("t.model")));
  EXPECT_FALSE(file_exists(texts.folder.file("tokenizer.model")));
}

}  // namespace
}  // namespace floe
