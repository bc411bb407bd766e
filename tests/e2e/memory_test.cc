// Training within a memory limit: decided before anything is read, and held to the end.
#include "training_for_test.h"

namespace floe {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

class TrainingMemoryLimit : public Training {
 protected:
  // The number behind `words` in a text.
  static int64_t number_after(const std::string& text, const std::string& words) {
    const size_t at = text.find(words);
    EXPECT_NE(at, std::string::npos) << text;
    return at == std::string::npos ? 0 : std::stoll(text.substr(at + words.size()));
  }
};

TEST_F(TrainingMemoryLimit, RefusesABatchBeforeItReadsAnyTextAndNamesOneThatFits) {
  ASSERT_EQ(train(flags("first", {{"max-updates", "1"}})).code, 0);
  const Flags tokenizer = {{"source-tokenizer", path("first/tokenizer.model")},
                           {"target-tokenizer", path("first/tokenizer.model")},
                           {"memory-limit", "12MiB"}};
  Flags large = tokenizer;
  large["batch-tokens"] = "100000";
  large["train-source"] = path("nothing.src");  // it does not come to that
  const Outcome refused = train(flags("run", large));
  expect_refusal(
      refused, AllOf(HasSubstr("option batch_tokens: 100000 needs "), HasSubstr(" of weights and moments, "),
                     HasSubstr("; cpu has "), HasSubstr("(memory_limit 12MiB)"), EndsWith(" would fit\n")));
  EXPECT_FALSE(has("run"));
  const std::string words = "(memory_limit 12MiB); ";
  Flags fitting = tokenizer;
  fitting["batch-tokens"] = std::to_string(number_after(refused.err, words));
  const Outcome run = train(flags("run", fitting));
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(metrics("run", "validation").size(), 2u);  // which translated too

  Flags tiny = tokenizer;
  tiny["memory-limit"] = "2500KiB";
  expect_refusal(train(flags("none", tiny)), HasSubstr("; not even one sentence of max_length 24 fits"));
  expect_refusal(train(flags("none", {{"memory-limit", "4GB"}})),
                 HasSubstr("option memory_limit: '4GB' is no amount of memory"));
}

TEST_F(TrainingMemoryLimit, FindsTheLargestBatchAndGoesOnWithIt) {
  const Flags found = {{"batch-tokens", "auto"}, {"memory-limit", "12MiB"}, {"max-updates", "20"}};
  const Outcome run = train(flags("run", found));
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.err, HasSubstr(", the most for which 12.00 MiB suffice: "));
  const int64_t tokens = number_after(run.err, "batch_tokens: ");
  EXPECT_GT(tokens, 24);
  EXPECT_THAT(bytes("run/options.toml"), HasSubstr("batch_tokens = " + std::to_string(tokens) + "  #"));

  // The same numbers as with that number given, and as without a limit.
  ASSERT_EQ(train(flags("given", {{"batch-tokens", std::to_string(tokens)}, {"max-updates", "20"}})).code, 0);
  expect_same_run("given", "run");

  // With other memory the batches stay.
  Flags more = found;
  more["memory-limit"] = "64MiB";
  more["max-updates"] = "30";
  const Outcome again = train(flags("run", more));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(number_after(again.err, "batch_tokens: "), tokens);
  EXPECT_THAT(again.err, HasSubstr("as the run to go on with has"));

  expect_refusal(train(flags("none", {{"batch-tokens", "auto"}})),
                 HasSubstr("option batch_tokens: auto on the CPU needs memory_limit"));
}

}  // namespace
}  // namespace floe
