// Every choice of a training run, as one typed struct and one table of rows. The TOML file, the command line
// and the printed form all come from the rows, so no option can exist in one and lack in another.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nn/config.h"
#include "passes/optimizer.h"
#include "train/batches.h"
#include "train/engine.h"
#include "train/schedule.h"

namespace floe {

struct TrainOptions {
  std::vector<std::string> train_source, train_target;  // parallel files, part by part
  std::vector<double> train_weights;                    // of the parts; empty: all 1
  std::string valid_source, valid_target;
  std::string source_tokenizer, target_tokenizer;  // SentencePiece models; the same path: one vocabulary
  int64_t vocabulary_size = 8000;  // of a tokenizer that is trained because its file is not there
  double character_coverage = 1;   // of such a tokenizer
  double subword_alpha = 0;        // of subword regularisation (Kudo, 2018); 0: none

  ModelConfig model{.d_model = 256,
                    .encoder_layers = 3,
                    .decoder_layers = 3,
                    .heads = 4,
                    .kv_heads = 4,
                    .d_ff = 1024,
                    .norm_placement = NormPlacement::pre};
  BatchOptions batch;
  bool auto_batch = false;    // batch.max_tokens is not given but found: as many as fit in memory
  int64_t micro_batches = 1;  // parts of a batch, one after the other, added up
  Recompute recompute = Recompute::none;
  OptimizerOptions optimizer{.clip_norm = 1};
  double label_smoothing = 0.1;
  int64_t max_skipped = 10;  // updates in a row whose gradient is not finite before training ends
  ScheduleOptions schedule{.warmup = 1000};
  DecayOptions decay;

  int64_t validate_every = 500;  // updates; 0: never
  int64_t validation_beam = 4;
  std::vector<std::string> metrics{"cross_entropy"};  // the first one decides what is best
  std::vector<double> metric_epsilons;                // beside metrics; empty: all 0
  StopOn early_stopping_on = StopOn::first;
  int64_t patience = 10;

  int64_t max_updates = 0;  // 0: no limit
  int64_t max_epochs = 0;
  double max_minutes = 0;

  std::string output;              // the run's folder
  int64_t save_every = 500;        // updates
  int64_t keep = 3;                // latest checkpoints; those that are best stay too. 0: all
  int64_t average_last = 1;        // checkpoints whose mean is the final model
  bool resume = true;              // from the latest checkpoint in `output`, when there is one
  bool override_schedule = false;  // resume although the schedule's options have changed
  std::string init_from;           // weights to begin with: a model's folder

  DeviceKind device = DeviceKind::cpu;
  Precision precision = Precision::f32;
  int64_t seed = 1;
  size_t memory_limit = 0;  // bytes of the device; 0: what it has
  int64_t threads = 0;      // 0: as many as there are cores
  int64_t log_every = 50;
};

// How an enumeration, or what else is written as a word, is read and written.
struct ChoiceAccess {
  std::string (*get)(TrainOptions&);
  void (*set)(TrainOptions&, std::string_view);  // throws Error{user} saying what it takes
  bool numbers = false;                          // whole numbers are words too
};

template <class T>
using OptionAccess = T& (*)(TrainOptions&);

struct OptionRow {
  std::string_view section;  // of the TOML file
  std::string_view name;     // as in the file; unique; "--" and dashes on the command line
  std::variant<OptionAccess<bool>, OptionAccess<int64_t>, OptionAccess<double>, OptionAccess<std::string>,
               OptionAccess<std::vector<std::string>>, OptionAccess<std::vector<double>>, ChoiceAccess>
      access;
  std::string_view doc;
  // Whether a resumed run must have the same value to give the same numbers.
  enum class Effect { none, schedule, numbers } effect = Effect::numbers;
};

std::span<const OptionRow> train_option_rows();
const OptionRow* find_option(std::string_view name);  // nullptr when there is none

// From words as they stand on a command line; several for a list, one else. Throws Error{user} naming the
// option.
void set_option(const OptionRow& row, std::span<const std::string> words, TrainOptions* options);

// `path` is for messages. What the file leaves out stays as it is. Throws Error{user} "PATH:LINE: ...": not
// TOML, an unknown section or key, a value of another kind.
void read_options(std::string_view toml, const std::string& path, TrainOptions* options);
// All options with their docs; read_options gives the same back.
std::string toml_of(const TrainOptions& options);

// Throws Error{user} for values out of range and for combinations that make no sense.
void check(const TrainOptions& options);
// Throws Error{user} when sentences of max_length, padded, do not fit a model of so many positions.
void check_lengths(const TrainOptions& options, int64_t max_positions);

// The rows with this effect whose values differ: "beta1 (0.9, now 0.8), ..."; empty when none does.
std::string differences(const TrainOptions& before, const TrainOptions& now, OptionRow::Effect effect);

// Of the rows with this effect: equal in a run and its resumption.
std::string hash_of(const TrainOptions& options, OptionRow::Effect effect);

EarlyStopOptions early_stop_of(const TrainOptions& options);

}  // namespace floe
