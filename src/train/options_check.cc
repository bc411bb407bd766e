// What options make sense together. Each refusal names the option as the TOML file and the command line do.
#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/error.h"
#include "train/options.h"

namespace floe {
namespace {

constexpr std::string_view kMetrics[] = {"cross_entropy", "perplexity", "bleu", "chrf"};
constexpr int64_t kMaxThreads = 1024;  // as the other commands take

void at_least(std::string_view name, int64_t value, int64_t least) {
  if (value < least) fail_user("option {}: {} is below {}", name, value, least);
}

// In [from, to): NaN is in no range.
void within(std::string_view name, double value, double from, double to) {
  if (!(value >= from && value < to)) fail_user("option {}: {} is not in [{}, {})", name, value, from, to);
}

int64_t padded_length(const TrainOptions& o) {
  const int64_t multiple = o.batch.length_multiple;
  return (o.batch.max_length + multiple - 1) / multiple * multiple;
}

void check_data(const TrainOptions& o) {
  if (o.train_source.empty()) fail_user("option train_source: no file to train on");
  if (o.train_source.size() != o.train_target.size()) {
    fail_user("option train_target: {} files for the {} of train_source", o.train_target.size(),
              o.train_source.size());
  }
  for (const auto* files : {&o.train_source, &o.train_target}) {
    if (std::find(files->begin(), files->end(), "-") != files->end())
      fail_user("option train_{}: standard input can be read only once, training reads its text twice",
                files == &o.train_source ? "source" : "target");
  }
  if (!o.train_weights.empty() && o.train_weights.size() != o.train_source.size()) {
    fail_user("option train_weights: {} weights for {} files", o.train_weights.size(), o.train_source.size());
  }
  for (const double weight : o.train_weights) {
    if (!(weight > 0 && weight <= 1000)) fail_user("option train_weights: {} is not in (0, 1000]", weight);
  }
  // Neither: RUN/tokenizer.model serves both.
  if (o.source_tokenizer.empty() != o.target_tokenizer.empty()) {
    fail_user("option {}: no path", o.source_tokenizer.empty() ? "source_tokenizer" : "target_tokenizer");
  }
  if (!(o.character_coverage >= 0.98 && o.character_coverage <= 1)) {
    fail_user("option character_coverage: {} is not in [0.98, 1]", o.character_coverage);
  }
  if (o.valid_source.empty() != o.valid_target.empty()) {
    fail_user("option {}: validation needs both sides",
              o.valid_source.empty() ? "valid_source" : "valid_target");
  }
  at_least("vocabulary_size", o.vocabulary_size, 4);
  within("subword_alpha", o.subword_alpha, 0, 100);
}

void check_model(const TrainOptions& o) {
  ModelConfig model = o.model;  // the real sizes are the tokenizers', once those are read
  model.source_vocabulary = o.vocabulary_size;
  model.target_vocabulary = o.vocabulary_size;
  model.validate();
  const bool one_vocabulary = o.source_tokenizer == o.target_tokenizer;
  if (!one_vocabulary && (model.tied == Tied::all || model.tied == Tied::source_target)) {
    fail_user("option tied: {} needs one vocabulary, but source_tokenizer and target_tokenizer differ",
              name_of(model.tied));
  }
  // With init_from the positions are that model's (train/setup.h).
  if (o.init_from.empty()) check_lengths(o, model.max_positions);
}

void check_steps(const TrainOptions& o) {
  if (!o.auto_batch) at_least("batch_tokens", o.batch.max_tokens, 1);
  at_least("batch_sentences", o.batch.max_sentences, 0);
  within("max_length", static_cast<double>(o.batch.max_length), 2, INT32_MAX);
  within("length_multiple", static_cast<double>(o.batch.length_multiple), 1, INT32_MAX);
  at_least("micro_batches", o.micro_batches, 1);
  if (!o.auto_batch && padded_length(o) > o.batch.max_tokens) {
    fail_user("option batch_tokens: {} is less than one sentence of max_length {}, padded to {}",
              o.batch.max_tokens, o.batch.max_length, padded_length(o));
  }
  within("beta1", o.optimizer.beta1, 0, 1);
  within("beta2", o.optimizer.beta2, 0, 1);
  if (!(o.optimizer.epsilon > 0 && o.optimizer.epsilon < 1)) {
    fail_user("option adam_epsilon: {} is not in (0, 1)", o.optimizer.epsilon);
  }
  within("weight_decay", o.optimizer.weight_decay, 0, 1);
  within("clip_norm", o.optimizer.clip_norm, 0, INFINITY);
  within("ema_decay", o.optimizer.ema_decay, 0, 1);
  within("label_smoothing", o.label_smoothing, 0, 1);
  at_least("max_skipped", o.max_skipped, 1);
  check(o.schedule);
  check(o.decay);
}

void check_validation(const TrainOptions& o) {
  at_least("validate_every", o.validate_every, 0);
  at_least("validation_beam", o.validation_beam, 1);
  at_least("patience", o.patience, 0);
  for (const std::string& name : o.metrics) {
    if (std::find(std::begin(kMetrics), std::end(kMetrics), name) == std::end(kMetrics)) {
      fail_user("option metrics: unknown metric '{}'; there are cross_entropy, perplexity, bleu, chrf", name);
    }
    if (std::count(o.metrics.begin(), o.metrics.end(), name) > 1)
      fail_user("option metrics: '{}' stands twice", name);
  }
  if (!o.metric_epsilons.empty() && o.metric_epsilons.size() != o.metrics.size()) {
    fail_user("option metric_epsilons: {} numbers for {} metrics", o.metric_epsilons.size(),
              o.metrics.size());
  }
  check(early_stop_of(o));
  const bool validates = !o.valid_source.empty() && o.validate_every > 0;
  const bool decays_on_stall =
      o.decay.strategy == DecayStrategy::stalled || o.decay.strategy == DecayStrategy::epoch_stalled;
  if (validates && o.metrics.empty()) fail_user("option metrics: validation without a metric");
  if (!validates && decays_on_stall) {
    fail_user("option decay: {} needs validation: valid_source, valid_target and validate_every",
              name_of(o.decay.strategy));
  }
  if (!validates && o.max_updates == 0 && o.max_epochs == 0 && o.max_minutes == 0) {
    fail_user(
        "option max_updates: without it, max_epochs, max_minutes or validation training would never end");
  }
  if (validates && o.patience == 0 && o.max_updates == 0 && o.max_epochs == 0 && o.max_minutes == 0) {
    fail_user(
        "option patience: at 0, and with no max_updates, max_epochs or max_minutes, training would never "
        "end");
  }
}

void check_run(const TrainOptions& o) {
  at_least("max_updates", o.max_updates, 0);
  at_least("max_epochs", o.max_epochs, 0);
  within("max_minutes", o.max_minutes, 0, INFINITY);
  if (o.output.empty()) fail_user("option output: no folder to write to");
  at_least("save_every", o.save_every, 1);
  at_least("keep", o.keep, 0);
  at_least("average_last", o.average_last, 1);
  if (o.keep > 0 && o.average_last > o.keep) {
    fail_user("option average_last: {} checkpoints, but only {} are kept (option keep)", o.average_last,
              o.keep);
  }
  at_least("seed", o.seed, 0);
  at_least("threads", o.threads, 0);
  if (o.precision == Precision::bf16 && o.device == DeviceKind::cpu)
    fail_user("option precision: bf16 needs device cuda");
  if (o.auto_batch && o.device == DeviceKind::cpu && o.memory_limit == 0)
    fail_user("option batch_tokens: auto on the CPU needs memory_limit");
  if (o.threads > kMaxThreads) fail_user("option threads: {} is above {}", o.threads, kMaxThreads);
  at_least("log_every", o.log_every, 1);
}

}  // namespace

void check_lengths(const TrainOptions& o, int64_t max_positions) {
  if (o.batch.max_length > max_positions) {
    fail_user("option max_length: {} is above the model's max_positions {}", o.batch.max_length,
              max_positions);
  }
  if (padded_length(o) > max_positions) {
    fail_user(
        "option max_length: {}, padded to {} by length_multiple {}, is above the model's max_positions {}",
        o.batch.max_length, padded_length(o), o.batch.length_multiple, max_positions);
  }
}

void check(const TrainOptions& options) {
  check_data(options);
  check_steps(options);
  check_model(options);
  check_validation(options);
  check_run(options);
}

}  // namespace floe
