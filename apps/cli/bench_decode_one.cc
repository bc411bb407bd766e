// One measurement of decoding, in a process of its own: random weights and sources, answers as JSON.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "base/error.h"
#include "bench_decode.h"
#include "bench_process.h"
#include "device/device.h"
#include "kernel/kernel.h"
#include "runtime/state.h"
#include "translate/engine.h"
#include "translate/model_file.h"
#include "translate/quantize_model.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

ModelConfig config_of(const Json& q) {
  ModelConfig config;
  config.d_model = q.at("d_model");
  config.d_ff = q.at("d_ff");
  config.encoder_layers = config.decoder_layers = q.at("layers");
  config.heads = config.kv_heads = q.at("heads");
  config.source_vocabulary = config.target_vocabulary = q.at("vocabulary");
  config.max_positions = q.at("max_positions");
  config.pad_id = 0;
  config.start_id = 2;
  config.eos_id = 3;
  return config;
}

// Tokens are named as decode_peer.py names them.
ModelFile random_model(const Json& q) {
  const ModelConfig config = config_of(q);
  std::vector<std::string> tokens = {"<pad>", "<unk>", "<s>", "</s>"};
  for (int64_t i = 4; i < config.target_vocabulary; ++i) tokens.push_back(fmt::format("t{}", i));
  const TextCodec codec(Vocabulary(tokens, "bench", "<unk>"), TokenSplit::spaces, {0, 2, 3});
  ModelFile model{
      .config = config, .weights = initial_weights(config, 1), .text = {.source = codec, .target = codec}};
  apply_config(config, &model.text);
  return model;
}

std::vector<SequenceRow> random_rows(const Json& q, int64_t vocabulary) {
  std::mt19937 random(1);
  std::uniform_int_distribution<int32_t> draw(4, static_cast<int32_t>(vocabulary) - 1);
  std::vector<SequenceRow> rows(q.at("batch").get<size_t>());
  for (SequenceRow& row : rows) {
    row.source.resize(q.at("source").get<size_t>());
    for (int32_t& id : row.source) id = draw(random);
  }
  return rows;
}

DecodeEngineOptions engine_options(const Json& q) {
  const int64_t rows = q.at("batch").get<int64_t>() * q.at("beam").get<int64_t>();
  const int64_t length = q.at("length");
  DecodeEngineOptions options;
  parse(q.at("precision").get<std::string>(), &options.precision);
  options.cached = q.value("cache", true);
  options.max_rows = rows;
  options.cache_positions = options.cached ? rows * length : 1;
  options.source_positions = q.at("batch").get<int64_t>() * (q.at("source").get<int64_t>() + 15);
  options.max_target = length;
  options.max_bindings = q.value("bindings", size_t{64});
  return options;
}

SearchOptions forced_length(const Json& q, int64_t length) {
  SearchOptions search;
  search.beam = q.at("beam");
  search.min_length = search.max_length = length;
  search.max_length_ratio = 0;
  search.ends = {3};
  return search;
}

const char* phase_of(const StepTime& time) {
  if (time.where.starts_with("output") || time.where.starts_with("search")) return "vocabulary";
  if (time.op.find("attention") != std::string::npos || time.op == "cache_append") return "attention";
  if (time.op == "matmul" || time.op == "linear" || time.op == "matmul_int8") return "projections";
  return "other";
}

// Seconds of a run by phase; "other" holds what passes between kernels too.
Json phases_of(const DecodeEngine::Profile& profile, int runs, double seconds) {
  Json phases = {
      {"projections", 0.0}, {"attention", 0.0}, {"vocabulary", 0.0}, {"encoder", 0.0}, {"other", 0.0}};
  const auto add = [&](const std::string& phase, double total) {
    phases[phase] = phases[phase].get<double>() + total / runs;
  };
  for (const StepTime& time : profile.encoder) add("encoder", time.seconds);
  for (const StepTime& time : profile.steps) add(phase_of(time), time.seconds);
  double sum = 0;
  for (const auto& [phase, value] : phases.items()) sum += value.get<double>();
  phases["other"] = phases["other"].get<double>() + std::max(0.0, seconds - sum);
  return phases;
}

Json lines_of(const DecodeEngine::Profile& profile, int runs) {
  Json lines = Json::array();
  for (const auto* list : {&profile.encoder, &profile.steps}) {
    for (const StepTime& time : *list) {
      if (time.calls == 0) continue;
      lines.push_back({{"op", time.op},
                       {"where", time.where},
                       {"milliseconds", 1e3 * time.seconds / runs},
                       {"calls", time.calls / runs}});
    }
  }
  return lines;
}

}  // namespace

int bench_decode_one(const std::string& text) {
  const int64_t empty = peak_resident_bytes();
  const Json q = Json::parse(text);
  if (q.contains("save")) {
    save_model(q.at("save"), random_model(q));
    fmt::print("{}\n", Json({{"saved", q.at("save")}}).dump());
    return 0;
  }
  ModelFile model = q.contains("model") ? load_model(q.at("model")) : random_model(q);
  if (q.value("int8", false)) quantize_model(&model, {});
  DeviceKind kind{};
  parse(q.at("device").get<std::string>(), &kind);
  KernelTable kernels;
  add_all_kernels(kind, kernels);
  const std::unique_ptr<Device> device = open_device(kind, q.at("threads"));
  State state(device.get());
  const DecodeEngineOptions options = engine_options(q);
  for (auto& [name, tensor] : weights_for(options.precision, model.config, std::move(model.weights)))
    state.set(name, std::move(tensor));
  DecodeEngine engine(model.config, state, kernels, *device, options);
  const std::vector<SequenceRow> rows = random_rows(q, model.config.source_vocabulary);
  const int64_t length = q.at("length");
  const int warmup = q.at("warmup"), runs = q.at("runs");
  const auto once = [&](int64_t tokens) {
    const auto results = engine.decode(rows, forced_length(q, tokens), {});
    for (const auto& hypotheses : results) {
      const auto found = static_cast<int64_t>(hypotheses.front().tokens.size());
      FLOE_CHECK(found == tokens, "a hypothesis of {} tokens", found);
    }
  };
  const auto timed = [&](int64_t tokens) {
    const auto start = std::chrono::steady_clock::now();
    once(tokens);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const bool first = q.value("first", false);
  for (int i = 0; i < warmup; ++i) {
    if (first) once(1);
    once(length);
  }
  // The profile is of runs of its own where it would count calls of one token, too, and on a GPU, whose steps
  // are not replayed from a recording while each is timed.
  const bool host = device->on_host();
  const bool apart = first || !host;
  if (!apart) engine.set_profile(true);
  std::vector<double> wall, cpu, first_wall;
  for (int i = 0; i < runs; ++i) {
    if (first) first_wall.push_back(timed(1));
    const double cpu_start = cpu_seconds();
    wall.push_back(timed(length));
    cpu.push_back(cpu_seconds() - cpu_start);
  }
  Json answer = {{"seconds", median(wall)}, {"cpu_seconds", median(cpu)}};
  if (first) answer["first_seconds"] = median(first_wall);
  answer["tokens_per_second"] = static_cast<double>(rows.size()) * static_cast<double>(length) / median(wall);
  answer["peak_bytes"] = host ? peak_resident_bytes() : static_cast<int64_t>(device->reported_in_use());
  answer["empty_bytes"] = host ? empty : 0;
  answer["device"] = device->name();
  answer["version"] = FLOE_VERSION;
  if (apart) {
    engine.set_profile(true);
    for (double& seconds : wall) seconds = timed(length);
  }
  double total = 0;
  for (const double seconds : wall) total += seconds;
  const DecodeEngine::Profile profile = engine.profile();
  answer["phases"] = phases_of(profile, runs, total / runs);
  answer["profile"] = lines_of(profile, runs);
  fmt::print("{}\n", answer.dump());
  return 0;
}

}  // namespace floe
