#include "train/trainer.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "text/counter_random.h"
#include "train/checkpoint.h"
#include "train/engine.h"
#include "train/schedule.h"
#include "train/text_data.h"
#include "train/validator.h"

namespace floe {
namespace {

constexpr uint64_t kMaskStream = 0xd409;  // of the seeds of dropout masks

using Clock = std::chrono::steady_clock;

ModelConfig config_for(const TrainOptions& options, const TrainTokenizers& tokenizers,
                       const ModelFile* begin) {
  ModelConfig config = options.model;
  if (begin != nullptr) {
    // Fine-tuning keeps the model and takes the run's dropout.
    config = begin->config;
    config.residual_dropout = options.model.residual_dropout;
    config.attention_dropout = options.model.attention_dropout;
    config.activation_dropout = options.model.activation_dropout;
  }
  config.source_vocabulary = config.has_encoder() ? tokenizers.source->size() : 0;
  config.target_vocabulary = tokenizers.target->size();
  const auto id = [&](int32_t value, const char* what) {
    if (value < 0) fail_user("the target's tokenizer has no {} piece", what);
    return value;
  };
  config.pad_id = id(tokenizers.target->pad_id(), "padding");
  config.start_id = id(tokenizers.target->bos_id(), "begin-of-sentence");
  config.eos_id = id(tokenizers.target->eos_id(), "end-of-sentence");
  config.validate();
  if (options.batch.max_length > config.max_positions) {
    fail_user("max_length {} is above the model's max_positions {}", options.batch.max_length,
              config.max_positions);
  }
  return config;
}

BatchOptions batch_options(const TrainOptions& options, const ModelConfig& config) {
  BatchOptions batch = options.batch;
  batch.seed = static_cast<uint64_t>(options.seed);
  batch.pad_id = config.pad_id;
  batch.start_id = config.start_id;
  batch.eos_id = config.eos_id;
  return batch;
}

class Trainer {
 public:
  Trainer(const TrainOptions& options, const TrainSink& sink)
      : options_(options),
        sink_(sink),
        progress_(sink.write, sink.progress),
        note_([this](const std::string& line) { progress_.note(line); }) {
    std::filesystem::create_directories(options.output);
    write_file(options.output + "/options.toml", toml_of(options));
    if (!options.init_from.empty()) begin_ = load_model(options.init_from);
    tokenizers_ = prepare_tokenizers(options, note_);
    config_ = config_for(options, tokenizers_, begin_ ? &*begin_ : nullptr);
    text_ = std::make_unique<TrainingText>(options, tokenizers_);
    note_(text_->report().text());
    batches_ = std::make_unique<Batches>(text_->pairs(), batch_options(options, config_));
    if (batches_->left_out() > 0) {
      note_(fmt::format("{} pairs are longer than max_length {} and were left out", batches_->left_out(),
                        options.batch.max_length));
    }
    add_all_cpu_kernels(kernels_);
    const int64_t threads = options.threads > 0 ? options.threads : std::thread::hardware_concurrency();
    pool_ = std::make_unique<ThreadPool>(static_cast<int>(std::max<int64_t>(1, threads)));
    TrainingEngineOptions engine;
    engine.label_smoothing = options.label_smoothing;
    engine.optimizer = options.optimizer;
    engine.accumulate = options.micro_batches > 1;
    engine.recompute = options.recompute;
    Weights weights = begin_ ? std::move(begin_->weights)
                             : initial_weights(config_, static_cast<uint32_t>(options.seed));
    engine_ = std::make_unique<TrainingEngine>(config_, engine, std::move(weights), kernels_, *pool_, state_);
    note_(fmt::format("{} parameters, {} threads", parameter_count(config_), pool_->threads()));
    early_stop_ = early_stop_of(options);
    if (options.validate_every > 0 && !options.valid_source.empty()) {
      validator_ = std::make_unique<Validator>(options, config_, tokenizers_, kernels_, *pool_, note_);
    }
  }

  TrainResult run() {
    at_.options_hash =
        hash_of(options_, OptionRow::Effect::numbers) + "/" + hash_of(options_, OptionRow::Effect::schedule);
    at_.seed = static_cast<uint64_t>(options_.seed);
    at_.batches_fingerprint = batches_->fingerprint();
    at_.position = batches_->position();
    if (options_.resume) resume();
    log_ = std::make_unique<MetricsLog>(options_.output + "/metrics.jsonl", at_.step);
    start_ = Clock::now();
    before_ = at_.seconds;
    TrainResult result;
    if (finished()) {
      note_(fmt::format("nothing to do: the run has its {} updates", at_.step));
      result.end = TrainResult::End::nothing_to_do;
    } else {
      result.end = loop();
      progress_.finish();
      if (result.end != TrainResult::End::stopped) export_model();
    }
    result.updates = at_.step;
    result.skipped = at_.skipped;
    result.seconds = at_.seconds;
    result.metrics = at_.metrics;
    return result;
  }

 private:
  bool finished() const {
    return (options_.max_updates > 0 && at_.step >= options_.max_updates) ||
           (options_.max_epochs > 0 && static_cast<int64_t>(at_.position.epoch) > options_.max_epochs) ||
           (options_.max_minutes > 0 && at_.seconds >= 60 * options_.max_minutes);
  }

  double done() const {
    double part = -1;
    if (options_.max_updates > 0) {
      part = std::max(part, static_cast<double>(at_.step) / static_cast<double>(options_.max_updates));
    }
    if (options_.max_epochs > 0) {
      const double epochs =
          static_cast<double>(at_.position.epoch - 1) +
          static_cast<double>(at_.position.next) / static_cast<double>(batches_->batches_in_epoch());
      part = std::max(part, epochs / static_cast<double>(options_.max_epochs));
    }
    if (options_.max_minutes > 0) part = std::max(part, at_.seconds / (60 * options_.max_minutes));
    return part;
  }

  TrainResult::End loop() {
    for (;;) {
      const BatchRef batch = batches_->next();
      update(batch);
      at_.position = batches_->position();
      at_.seconds = before_ + std::chrono::duration<double>(Clock::now() - start_).count();
      if (batch.last_of_epoch)
        decay_after_epoch(options_.decay, static_cast<int64_t>(batch.at.epoch), &at_.decay);
      const bool end = finished();
      bool stop = false;
      bool saved = false;
      if (validator_ != nullptr && (end || at_.step % options_.validate_every == 0)) {
        stop = validate();
        saved = true;
      }
      if (!saved && (end || (options_.save_every > 0 && at_.step % options_.save_every == 0))) save();
      if (stop) return TrainResult::End::early;
      if (end) return TrainResult::End::finished;
      if (sink_.stop != nullptr && sink_.stop->load()) {
        save();
        note_(fmt::format("stopped at update {}; the checkpoint holds everything", at_.step));
        return TrainResult::End::stopped;
      }
    }
  }

  void update(const BatchRef& batch) {
    const int parts = static_cast<int>(options_.micro_batches);
    std::vector<BatchTensors> micro;
    for (int part = 0; part < parts; ++part) {
      MicroBatch filled = batches_->fill(batch, part, parts);
      if (filled.tensors.target_in.size() > 0) micro.push_back(std::move(filled.tensors));
    }
    const double rate = learning_rate(options_.schedule, at_.step + 1, at_.decay.factor);
    const auto masks =
        static_cast<uint32_t>(counter_random({at_.seed, 0, kMaskStream}, static_cast<uint64_t>(at_.step)));
    const StepOutcome out = engine_->update(micro, static_cast<float>(rate), at_.step + 1, masks);
    ++at_.step;
    at_.target_tokens += static_cast<int64_t>(out.tokens);
    tokens_since_ += static_cast<double>(batch.shape.rows * (batch.shape.source + batch.shape.target));
    if (out.skipped) {
      ++at_.skipped;
      ++at_.skipped_in_a_row;
      log_->write("skipped", at_.step,
                  std::vector<std::pair<std::string, double>>{{"grad_norm", out.grad_norm}});
      if (at_.skipped_in_a_row >= options_.max_skipped) diverged(out);
    } else {
      at_.skipped_in_a_row = 0;
    }
    if (at_.step % options_.log_every == 0) report(out, rate);
  }

  [[noreturn]] void diverged(const StepOutcome& out) {
    const std::optional<std::string> last = latest_checkpoint(options_.output);
    fail_user(
        "training has diverged: the gradient of {} updates in a row was not finite (update {}, loss {}, norm "
        "{}); {}",
        at_.skipped_in_a_row, at_.step, out.loss / std::max(1.0, out.tokens), out.grad_norm,
        last ? "the last checkpoint is " + *last : "there is no checkpoint yet");
  }

  void report(const StepOutcome& out, double rate) {
    const double tokens = std::max(1.0, out.tokens);
    log_->write("train", at_.step,
                std::vector<std::pair<std::string, double>>{
                    {"epoch", static_cast<double>(at_.position.epoch)},
                    {"loss", out.loss / tokens},
                    {"nll", out.nll / tokens},
                    {"learning_rate", rate},
                    {"grad_norm", out.grad_norm},
                    {"target_tokens", static_cast<double>(at_.target_tokens)}});
    const double seconds = at_.seconds - seconds_reported_;
    progress_.update({.step = at_.step,
                      .epoch = at_.position.epoch,
                      .done = done(),
                      .loss = out.loss / tokens,
                      .learning_rate = rate,
                      .tokens_per_second = seconds > 0 ? tokens_since_ / seconds : 0,
                      .seconds = at_.seconds - before_});
    seconds_reported_ = at_.seconds;
    tokens_since_ = 0;
  }

  // Says whether to stop; leaves a checkpoint.
  bool validate() {
    const std::string prefix = options_.optimizer.ema_decay > 0 ? "ema." : "";
    at_.metrics = validator_->run(state_, prefix);
    std::vector<double> values;
    std::string line = fmt::format("validation at update {}:", at_.step);
    for (const auto& [name, value] : at_.metrics) line += fmt::format(" {} {:.4g}", name, value);
    for (const MetricRule& rule : early_stop_.metrics) {
      for (const auto& [name, value] : at_.metrics) {
        if (name == rule.name) values.push_back(value);
      }
    }
    note_(line);
    log_->write("validation", at_.step, at_.metrics);
    const ValidationVerdict verdict = after_validation(early_stop_, values, at_.step, &at_.early_stop);
    decay_after_validation(options_.decay, verdict.stalled, &at_.decay);
    save();
    for (size_t i = 0; i < verdict.improved.size(); ++i) {
      if (!verdict.improved[i]) continue;
      link_checkpoint(options_.output, "best-" + early_stop_.metrics[i].name, at_.step);
      if (i == 0) save_model(options_.output + "/best", with_notes(validator_->model()));
    }
    if (verdict.stop)
      note_(fmt::format("no better {} for {} validations", early_stop_.metrics[0].name, verdict.stalled));
    return verdict.stop;
  }

  void save() {
    std::vector<NamedTensor> model, rest;
    for (const std::string& name : engine_->trainable()) {
      model.push_back({name, view_of(state_.get(name))});
      for (const char* kind : {"adam.m.", "adam.v.", "ema."}) {
        if (state_.has(kind + name)) rest.push_back({kind + name, view_of(state_.get(kind + name))});
      }
    }
    save_checkpoint(options_.output, at_, {model, rest});
    prune_checkpoints(options_.output,
                      options_.keep == 0 ? 0 : std::max(options_.keep, options_.average_last));
  }

  void resume() {
    const std::optional<std::string> path = latest_checkpoint(options_.output);
    if (!path) return;
    const Checkpoint checkpoint = load_checkpoint(*path);
    const std::string& hash = checkpoint.state.options_hash;
    const size_t cut = hash.find('/');
    if (hash.substr(0, cut) != hash_of(options_, OptionRow::Effect::numbers)) {
      fail_user(
          "{} was made with other options (data, model, batches or optimizer); start in another folder or "
          "turn "
          "resume off",
          *path);
    }
    if (hash.substr(cut + 1) != hash_of(options_, OptionRow::Effect::schedule) &&
        !options_.override_schedule) {
      fail_user(
          "{} was made with another learning-rate schedule; give override_schedule to go on with the new one",
          *path);
    }
    if (checkpoint.state.batches_fingerprint != batches_->fingerprint()) {
      fail_user("{}: the corpus has changed since, so its place in the epoch means nothing", *path);
    }
    const std::string new_hash = at_.options_hash;
    at_ = checkpoint.state;
    at_.options_hash = new_hash;
    const auto load = [&](const SafetensorsFile& file) {
      for (const std::string& name : file.names()) {
        Tensor tensor = file.load(name);
        if (!state_.has(name) || state_.get(name).shape() != tensor.shape()) {
          fail_user("{}: tensor '{}' has no place in this run", file.path(), name);
        }
        state_.set(name, std::move(tensor));
      }
    };
    load(checkpoint.model);
    load(checkpoint.trainer);
    batches_->seek(at_.position);
    note_(fmt::format("resumed from {}", *path));
  }

  ModelFile with_notes(ModelFile model) const {
    model.notes["updates"] = std::to_string(at_.step);
    model.notes["epochs"] = std::to_string(at_.position.epoch - 1);
    for (const auto& [name, value] : at_.metrics)
      model.notes["validation_" + name] = fmt::format("{:.4f}", value);
    return model;
  }

  void export_model() {
    const std::vector<int64_t> steps = checkpoint_steps(options_.output);
    const auto n = static_cast<size_t>(std::max<int64_t>(1, options_.average_last));
    ModelFile model{.config = config_,
                    .weights = {},
                    .text = model_text(config_, tokenizers_),
                    .generation = {},
                    .notes = {}};
    std::string what;
    if (n == 1 && validator_ != nullptr && file_exists(options_.output + "/best/config.json")) {
      model = load_model(options_.output + "/best");
      what = "the best one";
    } else {
      std::vector<std::string> files;
      for (size_t i = steps.size() > n ? steps.size() - n : 0; i < steps.size(); ++i) {
        files.push_back(checkpoint_path(options_.output, steps[i]) + "/model.safetensors");
      }
      for (auto& [name, tensor] : average_weights(files)) model.weights.emplace(name, std::move(tensor));
      add_made_weights(config_, &model.weights);
      model = with_notes(std::move(model));
      what = fmt::format("the mean of {} checkpoints", files.size());
    }
    save_model(options_.output + "/model", model);
    note_(fmt::format("wrote {}/model: {}", options_.output, what));
  }

  const TrainOptions& options_;
  const TrainSink& sink_;
  Progress progress_;
  Validator::Note note_;
  std::optional<ModelFile> begin_;
  TrainTokenizers tokenizers_;
  ModelConfig config_;
  std::unique_ptr<TrainingText> text_;
  std::unique_ptr<Batches> batches_;
  KernelTable kernels_;
  std::unique_ptr<ThreadPool> pool_;
  State state_;
  std::unique_ptr<TrainingEngine> engine_;
  std::unique_ptr<Validator> validator_;
  EarlyStopOptions early_stop_;
  std::unique_ptr<MetricsLog> log_;
  TrainerState at_;
  Clock::time_point start_;
  double before_ = 0;  // seconds of earlier processes
  double seconds_reported_ = 0;
  double tokens_since_ = 0;
};

}  // namespace

TrainResult train(const TrainOptions& options, const TrainSink& sink) {
  check(options);
  return Trainer(options, sink).run();
}

}  // namespace floe
