#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "text/counter_random.h"
#include "train/checkpoint.h"
#include "train/engine.h"
#include "train/fit.h"
#include "train/resume.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/setup.h"
#include "train/text_data.h"
#include "train/validator.h"

namespace floe {
namespace {

constexpr uint64_t kMaskStream = 0xd409;  // of the seeds of dropout masks

using Clock = std::chrono::steady_clock;

class Trainer {
 public:
  Trainer(const TrainOptions& options, const TrainSink& sink)
      : options_(options),
        sink_(sink),
        progress_(sink.write, sink.progress),
        note_([this](const std::string& line) { progress_.note(line); }),
        folder_(options.output) {
    if (!options.resume && latest_checkpoint(options.output)) {
      fail_user("{} is there from another run, and resume is off: a new run needs another folder",
                *latest_checkpoint(options.output));
    }
    if (!options.init_from.empty()) {
      begin_ = load_model(options.init_from);
      begin_->weights = dequantized(std::move(begin_->weights));
      note_(fmt::format("begins with {}: sizes and kinds are that model's, dropout is the options'",
                        options.init_from));
    }
    tokenizers_ = prepare_tokenizers(options, note_);
    config_ = model_config(options, tokenizers_, begin_ ? &*begin_ : nullptr);
    const int64_t threads = options.threads > 0 ? options.threads : std::thread::hardware_concurrency();
    device_ = open_device(options.device, static_cast<int>(std::max<int64_t>(1, threads)));
    if (options.memory_limit > 0) device_->set_memory_limit(options.memory_limit);
    add_all_kernels(device_->kind(), kernels_);
    state_ = State(device_.get());
    make_engine();
    text_ = std::make_unique<TrainingText>(options_, tokenizers_);
    std::string report = text_->report().text();
    report.pop_back();  // note_ ends the line
    note_(report);
    batches_ = std::make_unique<Batches>(text_->pairs(), batch_options(options_, config_));
    note_(device_->on_host()
              ? fmt::format("{} parameters, {} threads", parameter_count(config_), device_->pool()->threads())
              : fmt::format("{} parameters on {}", parameter_count(config_), device_->name()));
    early_stop_ = early_stop_of(options);
    if (options.validate_every > 0 && !options.valid_source.empty()) {
      validator_ = std::make_unique<Validator>(options_, config_, tokenizers_, kernels_, *device_, note_);
    }
  }

  TrainResult run() {
    at_.options_hash = options_hash(options_);
    at_.seed = static_cast<uint64_t>(options_.seed);
    at_.batches_fingerprint = batches_->fingerprint();
    at_.position = batches_->position();
    if (options_.resume) resume();
    // Only now: a run that was refused leaves the record of the one that is there.
    write_file(options_.output + "/options.toml", toml_of(options_));
    log_ = std::make_unique<MetricsLog>(options_.output + "/metrics.jsonl", at_.step);
    start_ = Clock::now();
    before_ = at_.seconds;
    TrainResult result;
    if (finished() || stops_early(early_stop_, at_.early_stop)) {
      note_(fmt::format("nothing to do: the run has ended at update {}", at_.step));
      result.end = TrainResult::End::nothing_to_do;
    } else {
      try {
        result.end = loop();
      } catch (...) {
        progress_.finish();
        throw;
      }
      progress_.finish();
    }
    note_(fmt::format("{} updates, {} of them skipped for a gradient that was not finite", at_.step,
                      at_.skipped));
    // Made anew even when nothing else was to do: an earlier process may have been killed before it came to
    // this.
    if (result.end != TrainResult::End::stopped) export_model();
    result.updates = at_.step;
    result.skipped = at_.skipped;
    result.seconds = at_.seconds;
    result.metrics = at_.metrics;
    return result;
  }

 private:
  // Before any text is read for training: a batch that does not fit is refused at once.
  void make_engine() {
    TrainingEngineOptions engine;
    engine.label_smoothing = options_.label_smoothing;
    engine.optimizer = options_.optimizer;
    engine.accumulate = options_.micro_batches > 1;
    engine.recompute = options_.recompute;
    engine.precision = options_.precision;
    TrainingProgram program = compile_training(config_, engine, kernels_, device_->kind());
    const StepSizes sizes(program.program, kernels_, *device_);
    const FittedMemory memory = fit_batch(config_, sizes, kernels_, *device_, note_, &options_);
    Weights weights =
        begin_ ? std::move(begin_->weights) : initial_weights(config_, static_cast<uint32_t>(options_.seed));
    engine_ = std::make_unique<TrainingEngine>(config_, engine, std::move(program), std::move(weights),
                                               kernels_, *device_, state_);
    reserve_arena(memory, sizes, batch_options(options_, config_), options_.micro_batches, *device_,
                  engine_.get());
  }

  // The position stays behind the last batch of an epoch until the next one is asked for.
  int64_t epochs_done() const {
    const bool at_end = at_.position.next == batches_->batches_in_epoch();
    return static_cast<int64_t>(at_.position.epoch) - (at_end ? 0 : 1);
  }

  bool finished() const {
    return (options_.max_updates > 0 && at_.step >= options_.max_updates) ||
           (options_.max_epochs > 0 && epochs_done() >= options_.max_epochs) ||
           (options_.max_minutes > 0 && at_.seconds - before_ >= 60 * options_.max_minutes);
  }

  double part_done() const {
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
    if (options_.max_minutes > 0)
      part = std::max(part, (at_.seconds - before_) / (60 * options_.max_minutes));
    return part;
  }

  // Where an undisturbed run leaves a checkpoint, apart from its end.
  bool regular(int64_t step) const {
    return step % options_.save_every == 0 || (validator_ != nullptr && step % options_.validate_every == 0);
  }

  TrainResult::End loop() {
    for (;;) {
      update();
      const bool end = finished();
      bool stop = false;
      bool saved = false;
      if (validator_ != nullptr && (end || at_.step % options_.validate_every == 0)) {
        stop = validate();
        saved = true;
      } else if (end || regular(at_.step)) {
        save();
        saved = true;
      }
      if (stop) return TrainResult::End::early;
      if (end) return TrainResult::End::finished;
      if (sink_.stop != nullptr && sink_.stop->load()) {
        if (!saved) save();
        note_(fmt::format("stopped at update {}; the checkpoint holds everything", at_.step));
        return TrainResult::End::stopped;
      }
    }
  }

  // An update whose outcome has not been counted yet.
  struct Pending {
    uint64_t ticket = 0;
    std::optional<StepOutcome> outcome;  // known already
    int64_t step = 0;
    double rate = 0;
  };

  void update() {
    const Clock::time_point begin = Clock::now();
    const BatchRef batch = batches_->next();
    const int parts = static_cast<int>(options_.micro_batches);
    std::vector<BatchTensors> micro;
    for (int part = 0; part < parts; ++part) {
      MicroBatch filled = batches_->fill(batch, part, parts);
      if (filled.target_tokens == 0) continue;  // no sentence: it would add nothing
      for (int64_t row = 0; row < filled.tensors.source_lengths.size(); ++row)
        tokens_since_ += filled.tensors.source_lengths.at(row);
      micro.push_back(std::move(filled.tensors));
    }
    const double rate = learning_rate(options_.schedule, at_.step + 1, at_.decay.factor);
    const auto masks =
        static_cast<uint32_t>(counter_random({at_.seed, 0, kMaskStream}, static_cast<uint64_t>(at_.step)));
    const bool ahead = !device_->on_host() && micro.size() == 1;
    Pending now{.rate = rate};
    if (ahead) {
      now.ticket = engine_->launch(micro[0], static_cast<float>(rate), at_.step + 1, masks);
      settle();  // the update before, while the device works on this one
    } else {
      settle();
      now.outcome = engine_->update(micro, static_cast<float>(rate), at_.step + 1, masks);
    }
    now.step = ++at_.step;
    pending_ = now;
    at_.position = batches_->position();
    if (batch.last_of_epoch)
      decay_after_epoch(options_.decay, static_cast<int64_t>(batch.at.epoch), &at_.decay);
    const Clock::time_point time = Clock::now();
    at_.seconds = before_ + std::chrono::duration<double>(time - start_).count();
    if (!ahead) settle();
    seconds_since_ += std::chrono::duration<double>(Clock::now() - begin).count();
  }

  // Counts the outcome of the update that is under way, once it is there.
  void settle() {
    if (!pending_) return;
    const Pending done = *pending_;
    pending_.reset();
    const StepOutcome out = done.outcome ? *done.outcome : engine_->outcome(done.ticket);
    at_.target_tokens += static_cast<int64_t>(out.tokens);
    tokens_since_ += out.tokens;
    if (out.skipped) {
      ++at_.skipped;
      ++at_.skipped_in_a_row;
      log_->write("skipped", done.step,
                  std::vector<std::pair<std::string, double>>{{"grad_norm", out.grad_norm}});
      if (at_.skipped_in_a_row >= options_.max_skipped) diverged(out);
    } else {
      at_.skipped_in_a_row = 0;
    }
    if (done.step % options_.log_every == 0) report(out, done);
  }

  [[noreturn]] void diverged(const StepOutcome& out) {
    const std::optional<std::string> last = latest_checkpoint(options_.output);
    fail_user(
        "training has diverged: the gradient of {} updates in a row was not finite (update {}, loss {}, norm "
        "{}); {}",
        at_.skipped_in_a_row, at_.step, out.loss / std::max(1.0, out.tokens), out.grad_norm,
        last ? "the last checkpoint is " + *last : "there is no checkpoint yet");
  }

  void report(const StepOutcome& out, const Pending& done) {
    const double tokens = std::max(1.0, out.tokens);
    log_->write("train", done.step,
                std::vector<std::pair<std::string, double>>{
                    {"epoch", static_cast<double>(at_.position.epoch)},
                    {"loss", out.loss / tokens},
                    {"nll", out.nll / tokens},
                    {"learning_rate", done.rate},
                    {"grad_norm", out.grad_norm},
                    {"target_tokens", static_cast<double>(at_.target_tokens)}});
    progress_.update({.step = done.step,
                      .epoch = at_.position.epoch,
                      .done = part_done(),
                      .loss = out.loss / tokens,
                      .learning_rate = done.rate,
                      .tokens_per_second = tokens_since_ / std::max(seconds_since_, 1e-9),
                      .seconds = at_.seconds - before_});
    tokens_since_ = seconds_since_ = 0;
  }

  // Of the weights that validation, the best model and the final one take.
  std::string prefix() const { return options_.optimizer.ema_decay > 0 ? "ema." : ""; }

  // Says whether to stop; leaves a checkpoint.
  bool validate() {
    settle();
    validator_->take(state_, prefix());
    at_.metrics = validator_->run();
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
    mark_best();
    if (verdict.stop)
      note_(fmt::format("no better {} for {} validations", early_stop_.metrics[0].name, verdict.stalled));
    return verdict.stop;
  }

  // When the checkpoint of this step is the best one, links and RUN/best say so.
  void mark_best() {
    for (size_t i = 0; i < at_.early_stop.metrics.size(); ++i) {
      const MetricState& metric = at_.early_stop.metrics[i];
      if (!metric.has_best || metric.best_step != at_.step) continue;
      link_checkpoint(options_.output, "best-" + early_stop_.metrics[i].name, at_.step);
      if (i == 0 && validator_ != nullptr)
        save_model(options_.output + "/best", with_metrics(with_notes(validator_->model())));
    }
  }

  void save() {
    settle();  // a checkpoint holds every outcome up to it
    std::vector<NamedTensor> model, rest;
    for (const std::string& weight : engine_->trainable()) {
      for (const std::string& name : checkpointed(state_, weight))
        (name == weight ? model : rest).push_back({name, view_of(state_.get(name))});
    }
    save_checkpoint(options_.output, at_, {model, rest});
    // What a stop left between two regular checkpoints would put the mean of the last ones, and which ones
    // are kept, out of step with a run that was never stopped.
    if (interim_ && options_.keep > 0 && *interim_ != at_.step) {
      remove_unlinked(options_.output, *interim_);
      interim_.reset();
    }
    prune_checkpoints(options_.output, options_.keep);
  }

  void resume() {
    const std::optional<std::string> path = latest_checkpoint(options_.output);
    if (!path) return;
    const Checkpoint checkpoint = load_checkpoint(*path);
    check_same_run(options_, checkpoint, batches_->fingerprint());
    const std::string hash = at_.options_hash;
    at_ = checkpoint.state;
    at_.options_hash = hash;
    load_tensors(checkpoint, engine_->trainable(), &state_);
    batches_->seek(at_.position);
    if (!regular(at_.step)) interim_ = at_.step;
    note_(fmt::format("resumed from {}", *path));
    // The process that wrote the checkpoint may have been killed right after.
    if (validator_ != nullptr) validator_->take(state_, prefix());
    mark_best();
  }

  ModelFile with_notes(ModelFile model) const {
    model.notes["updates"] = std::to_string(at_.step);
    model.notes["epochs"] = std::to_string(epochs_done());
    return model;
  }
  ModelFile with_metrics(ModelFile model) const {
    for (const auto& [name, value] : at_.metrics)
      model.notes["validation_" + name] = fmt::format("{:.4f}", value);
    return model;
  }

  void export_model() {
    const auto n = static_cast<size_t>(options_.average_last);
    std::string what;
    if (n == 1 && validator_ != nullptr && file_exists(options_.output + "/best/config.json")) {
      save_model(options_.output + "/model", load_model(options_.output + "/best"));
      what = "the best one";
    } else {
      std::vector<int64_t> steps = checkpoint_steps(options_.output);
      std::erase_if(steps,
                    [&](int64_t step) { return step > at_.step || (step < at_.step && !regular(step)); });
      std::vector<std::string> files;
      for (size_t i = steps.size() - std::min(n, steps.size()); i < steps.size(); ++i) {
        const char* file = prefix().empty() ? "/model.safetensors" : "/trainer.safetensors";
        files.push_back(checkpoint_path(options_.output, steps[i]) + file);
      }
      ModelFile model{.config = config_,
                      .weights = {},
                      .text = model_text(config_, tokenizers_),
                      .generation = {},
                      .notes = {}};
      for (auto& [name, tensor] : average_weights(files, prefix()))
        model.weights.emplace(name, std::move(tensor));
      add_made_weights(config_, &model.weights);
      save_model(options_.output + "/model", with_notes(std::move(model)));
      what =
          files.size() == 1 ? "the last checkpoint" : fmt::format("the mean of {} checkpoints", files.size());
    }
    note_(fmt::format("wrote {}/model: {}", options_.output, what));
  }

  TrainOptions options_;
  const TrainSink& sink_;
  Progress progress_;
  Validator::Note note_;
  RunFolder folder_;
  std::optional<ModelFile> begin_;
  TrainTokenizers tokenizers_;
  ModelConfig config_;
  std::unique_ptr<TrainingText> text_;
  std::unique_ptr<Batches> batches_;
  KernelTable kernels_;
  std::unique_ptr<Device> device_;
  State state_;
  std::unique_ptr<TrainingEngine> engine_;
  std::unique_ptr<Validator> validator_;
  EarlyStopOptions early_stop_;
  std::unique_ptr<MetricsLog> log_;
  TrainerState at_;
  std::optional<Pending> pending_;
  std::optional<int64_t> interim_;  // the checkpoint that the run goes on from, when only a stop made it
  Clock::time_point start_;
  double before_ = 0;  // seconds of earlier processes
  // Since the last line of progress: tokens of both sides, and seconds without validation and saving.
  double tokens_since_ = 0;
  double seconds_since_ = 0;
};

}  // namespace

TrainResult train(const TrainOptions& options, const TrainSink& sink) {
  check(options);
  return Trainer(options, sink).run();
}

}  // namespace floe
