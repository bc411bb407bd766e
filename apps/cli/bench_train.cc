#include "bench_train.h"

#include <fmt/core.h>

#include <chrono>
#include <random>

#include "base/error.h"
#include "bench_process.h"
#include "bench_report.h"
#include "command.h"
#include "device/device.h"
#include "kernel/kernel.h"
#include "train/engine.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

struct TrainCase {
  const char* name;
  int64_t d_model, d_ff, layers, heads, vocabulary;
  int64_t batch, source, target;
  double dropout;
  int warmup, steps;
};

// Shapes of the models that Floe ships and of those that the literature trains.
constexpr TrainCase kCases[] = {
    {"multi30k", 128, 256, 4, 4, 10000, 128, 24, 24, 0.3, 2, 7},
    {"tatoeba", 256, 512, 3, 4, 8000, 128, 24, 24, 0.3, 2, 5},
    {"small", 256, 1024, 3, 4, 8000, 128, 24, 24, 0.1, 2, 5},
    {"base-16x32", 512, 2048, 6, 8, 32000, 16, 32, 32, 0.1, 1, 3},
    {"base-128x32", 512, 2048, 6, 8, 32000, 128, 32, 32, 0.1, 1, 1},
};
constexpr TrainCase kGpuCases[] = {
    {"small", 256, 1024, 3, 4, 8000, 128, 24, 24, 0.1, 10, 60},
    {"base", 512, 2048, 6, 8, 32000, 128, 32, 32, 0.1, 10, 40},
    {"base-large", 512, 2048, 6, 8, 32000, 256, 64, 64, 0.1, 10, 20},
    {"big", 1024, 4096, 6, 16, 32000, 256, 64, 64, 0.1, 10, 20},
};
constexpr TrainCase kQuick = {"quick", 32, 64, 1, 2, 100, 4, 6, 6, 0.1, 1, 2};

std::vector<TrainCase> chosen_cases(const BenchFlags& flags) {
  if (flags.quick) return {kQuick};
  std::vector<TrainCase> cases;
  std::string names = "all";
  const bool gpu = flags.device != "cpu";
  for (const TrainCase& c :
       gpu ? std::span<const TrainCase>(kGpuCases) : std::span<const TrainCase>(kCases)) {
    names += fmt::format(", {}", c.name);
    if (flags.which == "all" || flags.which == c.name) cases.push_back(c);
  }
  if (cases.empty()) throw UsageError(fmt::format("--case is one of {}, not '{}'", names, flags.which));
  return cases;
}

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

std::string description(const TrainCase& c) {
  return fmt::format("{}: {}/{}, {}+{} layers, {} pieces, batch {}x{}", c.name, c.d_model, c.d_ff, c.layers,
                     c.layers, c.vocabulary, c.batch, c.source);
}

ModelConfig config_of(const Json& q) {
  ModelConfig config;
  config.d_model = q.at("d_model");
  config.d_ff = q.at("d_ff");
  config.encoder_layers = config.decoder_layers = q.at("layers");
  config.heads = config.kv_heads = q.at("heads");
  config.source_vocabulary = config.target_vocabulary = q.at("vocabulary");
  config.residual_dropout = q.at("dropout");
  config.pad_id = 0;
  config.start_id = 2;
  config.eos_id = 3;
  return config;
}

// Random ids that are no special ones, all sentences of full length: as train_peer.py draws them.
BatchTensors random_batch(const Json& q) {
  const int64_t B = q.at("batch"), S = q.at("source"), T = q.at("target");
  std::mt19937 random(1);
  std::uniform_int_distribution<int32_t> draw(4, q.at("vocabulary").get<int32_t>() - 1);
  BatchTensors batch{Tensor(DType::i32, {B, S}), Tensor(DType::i32, {B}), Tensor(DType::i32, {B, T}),
                     Tensor(DType::i32, {B, T}), Tensor(DType::i32, {B})};
  for (Tensor* ids : {&batch.source, &batch.target_out})
    for (int64_t i = 0; i < ids->size(); ++i) ids->as<int32_t>()[i] = draw(random);
  for (int64_t b = 0; b < B; ++b) {
    batch.source_lengths.as<int32_t>()[b] = static_cast<int32_t>(S);
    batch.ordinals.as<int32_t>()[b] = static_cast<int32_t>(b);
    for (int64_t t = 0; t < T; ++t)
      batch.target_in.as<int32_t>()[b * T + t] = t == 0 ? 2 : batch.target_out.as<int32_t>()[b * T + t - 1];
  }
  return batch;
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
  const ModelConfig config = config_of(q);
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
  const BatchTensors batch = random_batch(q);
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
  BenchReport report(flags.command, flags.threads);
  const std::string program = own_program();
  for (const TrainCase& c : chosen_cases(flags)) {
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
  report.write(results_path(flags, "train"));
  return 0;
}

}  // namespace floe
