#include "train/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TrainOptions valid() {
  TrainOptions options;
  options.train_source = {"a.en", "b.en"};
  options.train_target = {"a.de", "b.de"};
  options.valid_source = "v.en";
  options.valid_target = "v.de";
  options.source_tokenizer = options.target_tokenizer = "joint.model";
  options.output = "run";
  return options;
}

TEST(TrainOptions, RowsHaveUniqueNamesDocsAndSectionsInOnePiece) {
  std::set<std::string_view> names;
  std::set<std::string_view> closed_sections;
  std::string_view section;
  for (const OptionRow& row : train_option_rows()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_FALSE(row.doc.empty()) << row.name;
    EXPECT_TRUE(row.section == section || closed_sections.insert(row.section).second) << row.section;
    section = row.section;
    EXPECT_EQ(find_option(row.name), &row);
  }
  EXPECT_EQ(find_option("none"), nullptr);
}

TEST(TrainOptions, WhatIsPrintedReadsBackTheSame) {
  TrainOptions options = valid();
  options.train_source[0] = "with \"quotes\", \\ and\nline \x7f\xc3\xa9";
  options.train_weights = {0.5, 3};
  options.schedule.rate = 0.1 + 0.2;
  options.optimizer.epsilon = 1e-300;
  options.model.activation = Activation::swiglu;
  options.decay.strategy = DecayStrategy::epoch_stalled;
  options.resume = false;
  options.seed = INT64_MAX;
  const std::string text = toml_of(options);
  TrainOptions back;
  read_options(text, "printed.toml", &back);
  EXPECT_EQ(toml_of(back), text);
  EXPECT_EQ(back.train_source, options.train_source);
  EXPECT_EQ(back.schedule.rate, options.schedule.rate);
  EXPECT_EQ(back.optimizer.epsilon, 1e-300);
  EXPECT_EQ(back.model, options.model);
  EXPECT_FALSE(back.resume);
  for (const OptionRow& row : train_option_rows()) {
    EXPECT_THAT(text, HasSubstr(std::string(row.name) + " = ")) << "an option is not printed";
  }
}

TEST(TrainOptions, EachRowReadsItsOwnFieldFromTomlAndFromWords) {
  const std::string defaults = toml_of({});
  for (const OptionRow& row : train_option_rows()) {
    // A value of the row's kind that is not its default.
    std::string toml;
    std::vector<std::string> words;
    if (std::holds_alternative<OptionAccess<bool>>(row.access)) {
      TrainOptions options;
      words = {std::get<OptionAccess<bool>>(row.access)(options) ? "false" : "true"};
      toml = words[0];
    } else if (std::holds_alternative<OptionAccess<int64_t>>(row.access)) {
      toml = "12345";
      words = {"12345"};
    } else if (std::holds_alternative<OptionAccess<double>>(row.access)) {
      toml = "0.12345";
      words = {"0.12345"};
    } else if (std::holds_alternative<OptionAccess<std::string>>(row.access)) {
      toml = "\"word\"";
      words = {"word"};
    } else if (std::holds_alternative<OptionAccess<std::vector<std::string>>>(row.access)) {
      toml = "[\"x\", \"y\"]";
      words = {"x", "y"};
    } else if (std::holds_alternative<OptionAccess<std::vector<double>>>(row.access)) {
      toml = "[0.25, 8]";
      words = {"0.25", "8"};
    } else {
      TrainOptions options;
      const auto& access = std::get<ChoiceAccess>(row.access);
      for (const char* name : {"post", "rms_norm", "silu", "rotary", "target_output", "cosine", "stalled",
                               "any", "cheap", "cuda", "bf16", "auto", "4GiB"}) {
        try {
          access.set(options, name);
          words = {name};
          toml = fmt::format("\"{}\"", name);
        } catch (const Error&) {
          continue;
        }
      }
    }
    TrainOptions from_toml;
    read_options(fmt::format("[{}]\n{} = {}\n", row.section, row.name, toml), "x.toml", &from_toml);
    EXPECT_NE(toml_of(from_toml), defaults) << row.name;
    TrainOptions from_words;
    set_option(row, words, &from_words);
    EXPECT_EQ(toml_of(from_words), toml_of(from_toml)) << row.name;
  }
}

std::string toml_refused(const std::string& text) {
  TrainOptions options;
  return refusal(ErrorKind::user, [&] { read_options(text, "t.toml", &options); });
}

TEST(TrainOptions, TomlRefusalsNameFileLineAndKey) {
  EXPECT_EQ(toml_refused("[model]\nheads = 4\nlayers = 3\n"), "t.toml:3: unknown option 'layers' in [model]");
  EXPECT_EQ(toml_refused("\n[schedule]\nlerning_rate = 1\n"),
            "t.toml:3: unknown option 'lerning_rate' in [schedule]; did you mean 'learning_rate'?");
  EXPECT_EQ(toml_refused("[model]\nseed = 1\n"), "t.toml:2: 'seed' belongs in [run], not in [model]");
  EXPECT_EQ(toml_refused("seed = 1\n"), "t.toml:1: 'seed' belongs in [run]");
  EXPECT_EQ(toml_refused("[modell]\n"), "t.toml:1: unknown section 'modell'");
  EXPECT_EQ(toml_refused("[model]\nheads = 4.0\n"), "t.toml:2: 'heads' is not a whole number");
  EXPECT_EQ(toml_refused("[model]\nheads = \"4\"\n"), "t.toml:2: 'heads' is not a whole number");
  EXPECT_EQ(toml_refused("[model]\nbiases = 1\n"), "t.toml:2: 'biases' is not true or false");
  EXPECT_EQ(toml_refused("[schedule]\nlearning_rate = \"fast\"\n"),
            "t.toml:2: 'learning_rate' is not a number");
  EXPECT_EQ(toml_refused("[data]\ntrain_source = \"a\"\n"), "t.toml:2: 'train_source' is not a list");
  EXPECT_EQ(toml_refused("[data]\ntrain_source = [1]\n"), "t.toml:2: 'train_source' is not a text");
  EXPECT_EQ(toml_refused("[run]\nseed = {a = 1}\n"), "t.toml:2: 'seed' is not a whole number");
  EXPECT_THAT(toml_refused("[model]\nactivation = \"tanh\"\n"),
              AllOf(HasSubstr("t.toml:2: 'activation'"), HasSubstr("'tanh'"), HasSubstr("swiglu")));
  EXPECT_THAT(toml_refused("[model]\nheads = \n"), HasSubstr("t.toml:2: "));
  EXPECT_THAT(toml_refused("[model]\nheads = 1\nheads = 2\n"), HasSubstr("t.toml:3: "));
}

TEST(TrainOptions, WhatAFileLeavesOutStaysAsItWas) {
  TrainOptions options = valid();
  options.seed = 9;
  read_options("[schedule]\nlearning_rate = 2\n", "t.toml", &options);
  EXPECT_EQ(options.schedule.rate, 2) << "a whole number is a number too";
  EXPECT_EQ(options.seed, 9);
  EXPECT_EQ(options.output, "run");
}

TEST(TrainOptions, WordsOfTheWrongKindNameTheOption) {
  TrainOptions options;
  const auto refused = [&](const char* name, const std::vector<std::string>& words) {
    return refusal(ErrorKind::user, [&] { set_option(*find_option(name), words, &options); });
  };
  EXPECT_EQ(refused("heads", {"four"}), "option heads: 'four' is not a whole number");
  EXPECT_EQ(refused("heads", {"4.5"}), "option heads: '4.5' is not a whole number");
  EXPECT_EQ(refused("heads", {"99999999999999999999"}),
            "option heads: '99999999999999999999' is not a whole number");
  EXPECT_EQ(refused("heads", {}), "option heads takes one value, not 0");
  EXPECT_EQ(refused("output", {"a", "b"}), "option output takes one value, not 2");
  EXPECT_EQ(refused("learning_rate", {"1e-3x"}), "option learning_rate: '1e-3x' is not a number");
  EXPECT_EQ(refused("resume", {"yes"}), "option resume: 'yes' is neither true nor false");
  EXPECT_THAT(refused("decay", {"sometimes"}), AllOf(HasSubstr("option decay"), HasSubstr("epoch+stalled")));
}

TEST(TrainOptions, TakeAmountsOfMemoryAndBatchesThatFitThem) {
  TrainOptions options;
  const auto set = [&](const char* name, const std::string& word) {
    set_option(*find_option(name), std::vector{word}, &options);
  };
  set("batch_tokens", "auto");
  set("memory_limit", "1.5GiB");
  EXPECT_TRUE(options.auto_batch);
  EXPECT_EQ(options.memory_limit, size_t{1536} << 20);
  EXPECT_THAT(toml_of(options),
              AllOf(HasSubstr("\nbatch_tokens = \"auto\"  #"), HasSubstr("\nmemory_limit = \"1536MiB\"  #")));
  TrainOptions back;
  read_options(toml_of(options), "t.toml", &back);
  EXPECT_TRUE(back.auto_batch);
  EXPECT_EQ(back.memory_limit, options.memory_limit);
  set("batch_tokens", "8192");
  set("memory_limit", "0");
  EXPECT_FALSE(options.auto_batch);
  EXPECT_EQ(options.batch.max_tokens, 8192);
  EXPECT_THAT(toml_of(options),
              AllOf(HasSubstr("\nbatch_tokens = 8192  #"), HasSubstr("\nmemory_limit = 0  #")));
  read_options("[run]\nmemory_limit = 4000000000\n", "t.toml", &options);
  EXPECT_EQ(options.memory_limit, 4'000'000'000u);

  EXPECT_EQ(refusal(ErrorKind::user, [&] { set("batch_tokens", "many"); }),
            "option batch_tokens: 'many' is neither a whole number nor auto");
  EXPECT_EQ(
      refusal(ErrorKind::user, [&] { set("memory_limit", "4GB"); }),
      "option memory_limit: '4GB' is no amount of memory: a number of bytes above 0, or a number with KiB, "
      "MiB, GiB or TiB");
  EXPECT_EQ(toml_refused("[batch]\nbatch_tokens = 1.5\n"),
            "t.toml:2: 'batch_tokens' is not a whole number or a text");
  EXPECT_THAT(toml_refused("[run]\nmemory_limit = -4\n"),
              HasSubstr("t.toml:2: 'memory_limit': '-4' is no amount of memory"));
}

TEST(TrainOptions, CombinationsThatMakeNoSenseAreRefusedByName) {
  check(valid());
  struct Case {
    void (*change)(TrainOptions&);
    const char* message;
  };
  const Case cases[] = {
      {[](TrainOptions& o) { o.train_source.clear(); }, "option train_source: no file"},
      {[](TrainOptions& o) { o.train_target.pop_back(); }, "option train_target: 1 files for the 2"},
      {[](TrainOptions& o) { o.train_weights = {1}; }, "option train_weights: 1 weights for 2 files"},
      {[](TrainOptions& o) { o.train_weights = {1, 0}; }, "option train_weights: 0 is not in"},
      {[](TrainOptions& o) { o.valid_target.clear(); }, "option valid_target: validation needs both"},
      {[](TrainOptions& o) { o.source_tokenizer.clear(); }, "option source_tokenizer: no path"},
      {[](TrainOptions& o) { o.character_coverage = 0.5; },
       "option character_coverage: 0.5 is not in [0.98, 1]"},
      {[](TrainOptions& o) { o.target_tokenizer = "de.model"; }, "option tied: all needs one vocabulary"},
      {[](TrainOptions& o) { o.model.heads = 3; }, "heads = 3 does not divide d_model = 256"},
      {[](TrainOptions& o) { o.batch.max_length = 600; },
       "option max_length: 600 is above the model's max_positions 512"},
      {[](TrainOptions& o) { o.model.max_positions = 100; },
       "option max_length: 100, padded to 104 by length_multiple 8, is above the model's max_positions 100"},
      {[](TrainOptions& o) { o.batch.max_tokens = 100; },
       "option batch_tokens: 100 is less than one sentence of max_length 100, padded to 104"},
      {[](TrainOptions& o) { o.batch.max_tokens = -5; }, "option batch_tokens: -5 is below 1"},
      {[](TrainOptions& o) { o.auto_batch = true; },
       "option batch_tokens: auto on the CPU needs memory_limit"},
      {[](TrainOptions& o) { o.batch.length_multiple = 0; }, "option length_multiple: 0 is not in [1, "},
      {[](TrainOptions& o) { o.train_target[1] = "-"; }, "option train_target: standard input"},
      {[](TrainOptions& o) { o.precision = Precision::bf16; }, "option precision: bf16 needs device cuda"},
      {[](TrainOptions& o) { o.threads = 1025; }, "option threads: 1025 is above 1024"},
      {[](TrainOptions& o) { o.micro_batches = 0; }, "option micro_batches: 0 is below 1"},
      {[](TrainOptions& o) { o.optimizer.beta2 = 1; }, "option beta2: 1 is not in [0, 1)"},
      {[](TrainOptions& o) { o.optimizer.clip_norm = std::nan(""); }, "option clip_norm: nan"},
      {[](TrainOptions& o) { o.label_smoothing = -0.1; }, "option label_smoothing: -0.1"},
      {[](TrainOptions& o) { o.schedule.kind = ScheduleKind::linear; },
       "a linear schedule of 0 steps ends before"},
      {[](TrainOptions& o) { o.metrics = {"bleu", "ter"}; }, "option metrics: unknown metric 'ter'"},
      {[](TrainOptions& o) { o.metrics = {"bleu", "bleu"}; }, "option metrics: 'bleu' stands twice"},
      {[](TrainOptions& o) { o.metric_epsilons = {1, 2}; },
       "option metric_epsilons: 2 numbers for 1 metrics"},
      {[](TrainOptions& o) {
         o.metrics.clear();
         o.patience = 0;
         o.max_epochs = 1;
       },
       "validation without a metric"},
      {[](TrainOptions& o) {
         o.validate_every = 0;
         o.max_epochs = 1;
         o.decay.strategy = DecayStrategy::stalled;
       },
       "option decay: stalled needs validation"},
      {[](TrainOptions& o) { o.validate_every = 0; }, "option max_updates: without it"},
      {[](TrainOptions& o) { o.patience = 0; }, "option patience: at 0"},
      {[](TrainOptions& o) { o.output.clear(); }, "option output: no folder"},
      {[](TrainOptions& o) { o.average_last = 5; },
       "option average_last: 5 checkpoints, but only 3 are kept"},
      {[](TrainOptions& o) { o.seed = -1; }, "option seed: -1 is below 0"},
  };
  for (const auto& [change, message] : cases) {
    TrainOptions options = valid();
    change(options);
    EXPECT_THAT(refusal(ErrorKind::user, [&] { check(options); }), HasSubstr(message));
  }
}

TEST(TrainOptions, TheHashTellsWhatAResumedRunMustKeep) {
  const TrainOptions options = valid();
  const auto numbers = [](const TrainOptions& o) { return hash_of(o, OptionRow::Effect::numbers); };
  const auto schedule = [](const TrainOptions& o) { return hash_of(o, OptionRow::Effect::schedule); };
  TrainOptions longer = options;
  longer.max_updates = 1'000;
  longer.output = "elsewhere";
  EXPECT_EQ(numbers(longer), numbers(options));
  EXPECT_EQ(schedule(longer), schedule(options));
  TrainOptions faster = options;
  faster.schedule.rate *= 2;
  EXPECT_EQ(numbers(faster), numbers(options));
  EXPECT_NE(schedule(faster), schedule(options));
  TrainOptions wider = options;
  wider.model.d_ff *= 2;
  EXPECT_NE(numbers(wider), numbers(options));
}

TEST(TrainOptions, DifferencesNameOptionsOfTheirEffectWithBothValues) {
  const TrainOptions before = valid();
  TrainOptions now = before;
  EXPECT_EQ(differences(before, now, OptionRow::Effect::numbers), "");
  now.model.d_ff = 8;
  now.metrics = {"bleu"};
  now.schedule.warmup = 7;
  EXPECT_EQ(differences(before, now, OptionRow::Effect::numbers),
            "d_ff (1024, now 8), metrics ([\"cross_entropy\"], now [\"bleu\"])");
  EXPECT_EQ(differences(before, now, OptionRow::Effect::schedule), "warmup (1000, now 7)");
}

TEST(TrainOptions, EarlyStoppingKnowsWhichMetricsGrow) {
  TrainOptions options;
  options.metrics = {"cross_entropy", "bleu"};
  options.metric_epsilons = {0.01, 0.1};
  const EarlyStopOptions stop = early_stop_of(options);
  EXPECT_FALSE(stop.metrics[0].higher_is_better);
  EXPECT_TRUE(stop.metrics[1].higher_is_better);
  EXPECT_EQ(stop.metrics[1].epsilon, 0.1);
  EXPECT_EQ(stop.patience, 10);
}

}  // namespace
}  // namespace floe
