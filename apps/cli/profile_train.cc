// floe profile train: one of the benchmark's training steps, as it is and then with every kernel timed.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "base/error.h"
#include "kernel/kernel.h"
#include "profile_output.h"
#include "profile_runs.h"
#include "threads.h"
#include "train/engine.h"
#include "train_case.h"

namespace floe {
namespace {

struct Flags {
  ProfileFlags profile;
  DeviceFlags device;
  std::string which = "small", precision = "f32";
  std::optional<int64_t> batch, source, target;
  bool quick = false;
};

void take(const char* option, const std::optional<int64_t>& given, int64_t* size) {
  if (!given) return;
  if (*given < 1) throw UsageError(fmt::format("{} is {}; it must be at least 1", option, *given));
  *size = *given;
}

TrainCase case_of(const Flags& flags) {
  const std::vector<TrainCase> cases = train_cases({flags.which, flags.device.device != "cpu", flags.quick});
  if (cases.size() > 1) throw UsageError("--case all: a profile is of one case");
  TrainCase c = cases.front();
  take("--batch", flags.batch, &c.batch);
  take("--source", flags.source, &c.source);
  take("--target", flags.target, &c.target);
  return c;
}

Precision precision_of(const std::string& name) {
  Precision precision{};
  try {
    parse(name, &precision);
  } catch (const Error& error) {
    throw UsageError(fmt::format("--precision: {}", error.what()));
  }
  return precision;
}

int run(const Flags& flags) {
  flags.profile.check();
  const TrainCase c = case_of(flags);
  TrainingEngineOptions options;
  options.optimizer.clip_norm = 1;
  options.precision = precision_of(flags.precision);
  const std::unique_ptr<Device> device = flags.device.open();
  KernelTable kernels;
  add_all_kernels(device->kind(), kernels);
  const ModelConfig config = config_of(c);
  State state(device.get());
  TrainingEngine engine(config, options, initial_weights(config, 1), kernels, *device, state);
  const BatchTensors batch = random_batch(c);
  int64_t update = 0;
  const auto launch = [&] {
    ++update;
    return engine.launch(batch, 1e-4F, update, static_cast<uint32_t>(update));
  };
  const auto check = [&](uint64_t ticket) {
    if (engine.outcome(ticket).skipped) fail_user("profile train: an update up to {} was not finite", update);
  };
  // The second run of a binding is recorded and the third is the first that plays a recording.
  for (int i = 0; i < std::max(c.warmup, 3); ++i) check(launch());
  Session& session = engine.session();
  session.set_profile(true);
  check(launch());  // records the marks and loads what that needs
  session.clear_profile();
  // Without and with a profile in turns, so that a machine that grows slower or faster counts for both.
  const int64_t ahead = device->on_host() ? 1 : 10;
  double seconds = 0;
  for (int64_t i = 0; i < flags.profile.runs; ++i) {
    session.set_profile(false);
    seconds += seconds_of([&] {
      // As a training loop runs: the next update is queued before the last one's outcome is read.
      uint64_t before = launch();
      for (int64_t k = 1; k < ahead; ++k) {
        const uint64_t now = launch();
        check(before);
        before = now;
      }
      check(before);
    });
    session.set_profile(true);
    check(launch());
  }
  ProfileReport report;
  report.what = fmt::format("training step, {}x{}, {}", description(c), c.target, flags.precision);
  report.unit = "step";
  report.run_seconds = seconds / static_cast<double>(flags.profile.runs * ahead);
  report.runs = flags.profile.runs;
  report.times = session.profile();
  session.trim();  // its memory, for the ceilings' matrices
  report.ceilings = measure_ceilings(*device, kernels, ceiling_sizes(device->kind()));
  write_profile(report, flags.profile);
  return 0;
}

}  // namespace

Run profile_train(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("--case", flags->which, "a case of floe bench train; small unless given");
  app.add_option("--batch", flags->batch, "sentences of the batch; the case's unless given");
  app.add_option("--source", flags->source, "tokens of each source sentence; the case's unless given");
  app.add_option("--target", flags->target, "tokens of each target sentence; the case's unless given");
  flags->device.add_to(app);
  app.add_option("--precision", flags->precision, "f32 (unless given) or, on cuda, bf16");
  app.add_flag("--quick", flags->quick, "a tiny model: shows that it works");
  flags->profile.add_to(app);
  return [flags] { return run(*flags); };
}

}  // namespace floe
