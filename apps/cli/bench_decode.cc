#include "bench_decode.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "base/file.h"
#include "bench_process.h"
#include "bench_report.h"
#include "command.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

constexpr DecodeShape kShape = {256, 512, 3, 4, 8000, 640};
constexpr DecodeShape kQuickShape = {32, 64, 1, 2, 100, 64};

struct DecodePlan {
  DecodeShape shape;
  std::vector<int64_t> batches, cache_lengths, peer_lengths;
  int64_t source, beam;
};

DecodePlan plan_of(const BenchFlags& flags) {
  if (flags.quick) return {kQuickShape, {1, 2}, {4, 8}, {4}, 5, 2};
  return {kShape, {1, 32}, {16, 32, 64, 128, 256, 512}, {32, 64}, 32, 4};
}

// A measurement of minutes needs no repetition; one of milliseconds does.
struct Repeats {
  int rounds, warmup, runs;
};
Repeats repeats_of(const BenchFlags& flags, int64_t batch, int64_t length) {
  if (flags.quick) return {1, 1, 1};
  const int64_t positions_without_cache = batch * length * length / 2;
  if (positions_without_cache > 500'000) return {1, 0, 1};
  return {flags.rounds, 1, positions_without_cache > 50'000 ? 1 : 5};
}

struct Side {
  std::vector<double> speeds, memory;
  std::map<std::string, std::vector<double>> phases;  // milliseconds for each token of a sentence

  void add_speed(const Json& answer, int64_t length) {
    speeds.push_back(answer.at("tokens_per_second"));
    if (!answer.contains("phases")) return;
    for (const auto& [phase, seconds] : answer.at("phases").items())
      phases[phase].push_back(1e3 * seconds.get<double>() / static_cast<double>(length));
  }
  void add_memory(const Json& answer) {
    memory.push_back((answer.at("peak_bytes").get<double>() - answer.at("empty_bytes").get<double>()) /
                     (1 << 20));
  }
  void add(const Json& answer, int64_t length) {
    add_speed(answer, length);
    add_memory(answer);
  }
};

void add_rows(const std::string& name, const Side& floe, const Side& peer, const std::string& peer_name,
              BenchReport& report) {
  const bool both = !peer.speeds.empty();
  const auto row = [&](const std::string& metric, const std::vector<double>& ours,
                       const std::vector<double>* theirs, bool more_is_better) {
    BenchRow out{name, metric, median(ours), {}, peer_name, more_is_better};
    if (theirs != nullptr) out.peer = median(*theirs);
    report.row(out);
  };
  row("tokens/s", floe.speeds, both ? &peer.speeds : nullptr, true);
  row("peak memory, MiB", floe.memory, both ? &peer.memory : nullptr, false);
  for (const auto& [phase, values] : floe.phases) {
    const auto theirs = peer.phases.find(phase);
    row("ms per step: " + phase, values, theirs == peer.phases.end() ? nullptr : &theirs->second, false);
  }
  fmt::print("{}: {:.1f} tokens/s{}\n", name, median(floe.speeds),
             both ? fmt::format(", {} {:.1f}", peer_name, median(peer.speeds)) : "");
}

void compare_caches(const BenchFlags& flags, const DecodePlan& plan, BenchReport& report) {
  const std::string program = own_program();
  for (const int64_t batch : plan.batches) {
    for (const int64_t length : plan.cache_lengths) {
      const Repeats repeats = repeats_of(flags, batch, length);
      Json asked = decode_question(plan.shape, flags);
      asked.update({{"batch", batch}, {"source", plan.source}, {"length", length}, {"beam", 1}});
      // Without a cache each step has sizes of its own. Binding them is not what is compared, so a warmed-up
      // run finds them bound; but then they count in memory, which is therefore taken from a run of its own.
      constexpr int64_t kFewBindings = 4;
      const int64_t enough = length + 2;
      Side with, without;
      for (int round = 0; round < repeats.rounds; ++round) {
        for (const bool cache : {true, false}) {
          Side& side = cache ? with : without;
          asked["cache"] = cache;
          asked["warmup"] = repeats.warmup;
          asked["runs"] = repeats.runs;
          asked["bindings"] = repeats.warmup > 0 ? enough : kFewBindings;
          Json answer = run_for_json({program, "bench", "decode", "--one", asked.dump()});
          side.add_speed(answer, length);
          if (round > 0) continue;
          if (repeats.warmup > 0) {
            asked["warmup"] = 0;
            asked["runs"] = 1;
            asked["bindings"] = kFewBindings;
            answer = run_for_json({program, "bench", "decode", "--one", asked.dump()});
          }
          side.add_memory(answer);
        }
      }
      add_rows(fmt::format("greedy, batch {}, length {}", batch, length), with, without,
               "Floe without KV cache", report);
    }
  }
}

struct TemporaryFolder {
  explicit TemporaryFolder(std::string name) : path(std::move(name)) {
    std::filesystem::create_directories(path);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

// Both of them with the weights as they are, or both with INT8 ones and a scale a row for activations.
struct Contest {
  bool int8;
  const char* prefix;
  const char* peer;
};
constexpr Contest kContests[] = {{false, "", "CTranslate2 fp32"}, {true, "INT8, ", "CTranslate2 int8"}};

void compare_ctranslate2(const BenchFlags& flags, const DecodePlan& plan, const Contest& contest,
                         BenchReport& report) {
  const std::string program = own_program();
  const TemporaryFolder folder(temporary_name(std::filesystem::temp_directory_path() / "floe-bench"));
  const std::string model = folder.path + "/floe", peer_model = folder.path + "/ctranslate2";
  Json save = decode_question(plan.shape, flags);
  save["save"] = model;
  run_for_json({program, "bench", "decode", "--one", save.dump()});
  if (!flags.peer.empty()) {
    const Json exported = run_for_json({flags.peer, flags.scripts + "/ct2_export.py", model, peer_model});
    report.version("ctranslate2", exported.at("version"));
  }
  for (const int64_t batch : plan.batches) {
    for (const int64_t length : plan.peer_lengths) {
      Json asked = decode_question(plan.shape, flags);
      asked.update({{"model", model},
                    {"batch", batch},
                    {"source", plan.source},
                    {"length", length},
                    {"beam", plan.beam},
                    {"int8", contest.int8},
                    {"warmup", 1},
                    {"runs", flags.quick ? 1 : 5}});
      Side floe, peer;
      for (int round = 0; round < (flags.quick ? 1 : flags.rounds); ++round) {
        asked["model"] = model;
        Json answer = run_for_json({program, "bench", "decode", "--one", asked.dump()});
        answer.erase("phases");
        floe.add(answer, length);
        if (flags.peer.empty()) continue;
        asked["model"] = peer_model;
        peer.add(run_for_json({flags.peer, flags.scripts + "/decode_peer.py", asked.dump()}), length);
      }
      add_rows(fmt::format("{}beam {}, batch {}, length {}", contest.prefix, plan.beam, batch, length), floe,
               peer, contest.peer, report);
    }
  }
}

}  // namespace

Json decode_question(const DecodeShape& s, const BenchFlags& flags) {
  return {{"d_model", s.d_model},        {"d_ff", s.d_ff},
          {"layers", s.layers},          {"heads", s.heads},
          {"vocabulary", s.vocabulary},  {"max_positions", s.max_positions},
          {"threads", flags.threads},    {"device", flags.device},
          {"precision", flags.precision}};
}

std::string decode_model_text(const DecodeShape& s, int64_t source) {
  return fmt::format("{}/{}, {}+{} layers, {} pieces, random weights; source of {} tokens", s.d_model, s.d_ff,
                     s.layers, s.layers, s.vocabulary, source);
}

int bench_decode(const BenchFlags& flags) {
  // What CTranslate2 and a search without cache are compared with is the CPU's.
  const bool gpu = flags.device != "cpu";
  const std::set<std::string> cases = gpu ? std::set<std::string>{"all", "steps"}
                                          : std::set<std::string>{"all", "cache", "peer", "int8", "steps"};
  if (cases.count(flags.which) == 0)
    throw UsageError(fmt::format("--case is one of {}, not '{}'", fmt::join(cases, ", "), flags.which));
  BenchReport report(flags.command, flags.threads, results_path(flags, "decode"));
  if (gpu || flags.which == "steps") {
    compare_steps(flags, report);
  } else {
    const DecodePlan plan = plan_of(flags);
    report["model"] = decode_model_text(plan.shape, plan.source);
    if (flags.which == "all" || flags.which == "cache") compare_caches(flags, plan, report);
    for (const Contest& contest : kContests) {
      const bool wanted = flags.which == "all" || flags.which == (contest.int8 ? "int8" : "peer");
      if (wanted) compare_ctranslate2(flags, plan, contest, report);
    }
  }
  report.write();
  return 0;
}

}  // namespace floe
