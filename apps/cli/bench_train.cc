#include "bench_train.h"

#include <fmt/core.h>

#include <chrono>

#include "base/error.h"
#include "bench_process.h"
#include "bench_report.h"
#include "device/device.h"
#include "kernel/kernel.h"
#include "train/engine.h"
#include "train_case.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

Json question(const TrainCase& c, const BenchFlags& flags) {
  const int threads = flags.threads;
  return {{"device", flags.device},     {"precision", flags.precision},
          {"d_model", c.d_model},       {"d_ff", c.d_ff},
          {"layers", c.layers},         {"heads", c.heads},
          {"vocabulary", c.vocabulary}, {"batch", c.batch},
          {"source", c.source},         {"target", c.target},
          {"dropout", c.dropout},       {"threads", threads},
          {"warmup", c.warmup},         {"steps", c.steps}};
}

TrainCase case_of(const Json& q) {
  TrainCase c;
  c.d_model = q.at("d_model");
  c.d_ff = q.at("d_ff");
  c.layers = q.at("layers");
  c.heads = q.at("heads");
  c.vocabulary = q.at("vocabulary");
  c.batch = q.at("batch");
  c.source = q.at("source");
  c.target = q.at("target");
  c.dropout = q.at("dropout");
  return c;
}

struct Side {
  std::vector<double> speeds, memory;
  void add(const Json& answer) {
    speeds.push_back(answer.at("tokens_per_second"));
    memory.push_back((answer.at("peak_bytes").get<double>() - answer.at("empty_bytes").get<double>()) /
                     (1 << 20));
  }
};

}  // namespace

int bench_train_one(const std::string& text) {
  const int64_t empty = peak_resident_bytes();
  const Json q = Json::parse(text);
  const TrainCase c = case_of(q);
  const ModelConfig config = config_of(c);
  TrainingEngineOptions options;
  options.optimizer.clip_norm = 1;
  parse(q.at("precision").get<std::string>(), &options.precision);
  DeviceKind kind{};
  parse(q.at("device").get<std::string>(), &kind);
  KernelTable kernels;
  add_all_kernels(kind, kernels);
  const std::unique_ptr<Device> device = open_device(kind, q.at("threads"));
  State state(device.get());
  TrainingEngine engine(config, options, initial_weights(config, 1), kernels, *device, state);
  const BatchTensors batch = random_batch(c);
  std::vector<double> wall, cpu;
  int64_t update = 0;
  const auto launch = [&] {
    ++update;
    return engine.launch(batch, 1e-4F, update, static_cast<uint32_t>(update));
  };
  const auto check = [&](const StepOutcome& outcome) {
    if (outcome.skipped) fail_user("bench train: an update up to {} was not finite", update);
  };
  const auto step = [&] { check(engine.outcome(launch())); };
  const int warmup = q.at("warmup"), steps = q.at("steps");
  for (int i = 0; i < warmup; ++i) step();
  if (device->on_host()) {
    for (int i = 0; i < steps; ++i) {
      const double cpu_start = cpu_seconds();
      const auto start = std::chrono::steady_clock::now();
      step();
      wall.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      cpu.push_back(cpu_seconds() - cpu_start);
    }
  } else {
    // As a training loop runs: the next update is queued before the last one's outcome is read.
    const double cpu_start = cpu_seconds();
    const auto start = std::chrono::steady_clock::now();
    uint64_t before = launch();
    for (int i = 1; i < steps; ++i) {
      const uint64_t now = launch();
      check(engine.outcome(before));
      before = now;
    }
    check(engine.outcome(before));
    wall.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / steps);
    cpu.push_back((cpu_seconds() - cpu_start) / steps);
  }
  const int64_t peak =
      device->on_host() ? peak_resident_bytes() : static_cast<int64_t>(device->reported_in_use());
  engine.session().set_profile(true);
  constexpr int kProfiled = 2;
  for (int i = 0; i < kProfiled; ++i) step();
  Json profile = Json::array();
  for (const StepTime& time : engine.session().profile()) {
    if (time.calls == 0) continue;
    profile.push_back({{"op", time.op},
                       {"where", time.where},
                       {"milliseconds", 1e3 * time.seconds / kProfiled},
                       {"calls", time.calls / kProfiled}});
  }
  const double seconds = median(wall);
  const auto tokens = static_cast<double>(batch.source.size() + batch.target_in.size());
  fmt::print("{}\n", Json({{"seconds", seconds},
                           {"cpu_seconds", median(cpu)},
                           {"tokens_per_second", tokens / seconds},
                           {"peak_bytes", peak},
                           {"empty_bytes", device->on_host() ? empty : 0},
                           {"device", device->name()},
                           {"version", FLOE_VERSION},
                           {"profile", profile}})
                         .dump());
  return 0;
}

int bench_train(const BenchFlags& flags) {
  BenchReport report(flags.command, flags.threads, results_path(flags, "train"));
  const std::string program = own_program();
  for (const TrainCase& c : train_cases({flags.which, flags.device != "cpu", flags.quick})) {
    Json asked = question(c, flags);
    // By what PyTorch is told: its name in the report.
    const bool gpu = flags.device != "cpu" && !flags.quick;
    const std::map<std::string, std::string> modes =
        gpu ? std::map<std::string, std::string>{{"default", "PyTorch, Inductor"},
                                                 {"reduce-overhead", "PyTorch, Inductor with CUDA graphs"}}
            : std::map<std::string, std::string>{{"eager", "PyTorch, eager"}};
    Side floe;
    std::map<std::string, Side> peers;
    Json last;
    for (int round = 0; round < (flags.quick ? 1 : flags.rounds); ++round) {
      last = run_for_json({program, "bench", "train", "--one", asked.dump()});
      floe.add(last);
      report.ran_on(last, flags);
      if (flags.peer.empty()) continue;
      for (const auto& [mode, name] : modes) {
        asked["mode"] = mode;
        const Json answer = run_for_json({flags.peer, flags.scripts + "/train_peer.py", asked.dump()});
        peers[mode].add(answer);
        report.version("pytorch", answer.at("version"));
      }
    }
    for (const auto& [mode, name] : modes) {
      BenchRow row{description(c), "tokens/s", median(floe.speeds), {}, name};
      if (!flags.peer.empty()) row.peer = median(peers[mode].speeds);
      report.row(row);
      fmt::print("{}: {:.0f} tokens/s{}\n", row.name, row.floe,
                 row.peer ? fmt::format(", {} {:.0f}", name, *row.peer) : "");
      row.metric = "peak memory, MiB";
      row.more_is_better = false;
      row.floe = median(floe.memory);
      if (row.peer) row.peer = median(peers[mode].memory);
      report.row(row);
    }
    std::map<std::string, double> by_op;
    for (const Json& line : last.at("profile")) by_op[line.at("op")] += line.at("milliseconds").get<double>();
    report["profiles"][description(c)] = by_op;
  }
  report.write();
  return 0;
}

}  // namespace floe
