// floe bench decode, case steps: a step of the base model beside the two ways that PyTorch offers. A step is
// what a token more costs: the difference of a call of `length` tokens and a call of one, over the steps
// between, so that the encoder and what begins and ends a call are in neither side's step.
#include <fmt/core.h>

#include <map>

#include "bench_decode.h"
#include "bench_process.h"
#include "bench_report.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

struct StepCase {
  int64_t batch, beam;
  auto operator<=>(const StepCase&) const = default;
};

struct StepPlan {
  DecodeShape shape;
  std::vector<StepCase> cases;
  int64_t source, length;
  int warmup, runs;  // of Floe and of the peer that is as quick; generate() takes fewer
};

StepPlan plan_of(const BenchFlags& flags) {
  if (flags.quick) return {{32, 64, 1, 2, 128, 64}, {{1, 1}, {2, 1}, {2, 2}}, 5, 48, 1, 9};
  constexpr DecodeShape kBase = {512, 2048, 6, 8, 32000, 128};
  if (flags.device == "cpu") return {kBase, {{1, 1}, {16, 1}, {16, 4}}, 32, 64, 1, 3};
  // A recording is made in the second run of a binding, so the third is the first of its kind.
  return {kBase, {{1, 1}, {64, 1}, {256, 1}, {64, 4}, {256, 4}}, 32, 64, 3, 9};
}

struct Side {
  std::vector<double> seconds, first_seconds, memory;
  void add(const Json& answer) {
    seconds.push_back(answer.at("seconds"));
    first_seconds.push_back(answer.at("first_seconds"));
    if (answer.contains("peak_bytes")) memory.push_back(answer.at("peak_bytes").get<double>() / (1 << 20));
  }
  double step(int64_t length) const {
    return (median(seconds) - median(first_seconds)) / static_cast<double>(length - 1);
  }
};

struct Peer {
  const char* script;
  const char* name;
  bool has_beams;
  int runs;
  std::map<StepCase, Side> sides = {};
};

void add_rows(const StepPlan& plan, const StepCase& c, const Side& floe, const Peer& peer, bool gpu,
              BenchReport& report) {
  const auto found = peer.sides.find(c);
  const Side* other = found == peer.sides.end() ? nullptr : &found->second;
  const std::string name = c.beam == 1 ? fmt::format("greedy, batch {}", c.batch)
                                       : fmt::format("beam {}, batch {}", c.beam, c.batch);
  const auto row = [&](const std::string& metric, bool more_is_better, const auto& value) {
    BenchRow out{name, metric, value(floe), {}, peer.name, more_is_better};
    if (other != nullptr) out.peer = value(*other);
    report.row(out);
    fmt::print("{}: {:.4g} {}{}\n", name, out.floe, metric,
               out.peer ? fmt::format(", {} {:.4g}", peer.name, *out.peer) : "");
  };
  const auto sentences = static_cast<double>(c.batch), length = static_cast<double>(plan.length);
  row("ms/step", false, [&](const Side& s) { return 1e3 * s.step(plan.length); });
  row("tokens/s", true, [&](const Side& s) { return sentences / s.step(plan.length); });
  row("tokens/s with the encoder", true,
      [&](const Side& s) { return sentences * length / median(s.seconds); });
  if (gpu) row("device memory, MiB", false, [&](const Side& s) { return median(s.memory); });
}

void ask_peer(const BenchFlags& flags, const StepPlan& plan, Json asked, Peer& peer, BenchReport& report) {
  asked["runs"] = peer.runs;
  for (const StepCase& c : plan.cases)
    if (c.beam == 1 || peer.has_beams) asked["cases"].push_back({{"batch", c.batch}, {"beam", c.beam}});
  const Json answer = run_for_json({flags.peer, flags.scripts + "/" + peer.script, asked.dump()});
  for (const Json& result : answer.at("results"))
    peer.sides[{result.at("batch"), result.at("beam")}].add(result);
  for (const auto& [name, version] : answer.at("versions").items()) report.version(name, version);
  report["peers"][peer.name] = answer.at("results");
}

}  // namespace

void compare_steps(const BenchFlags& flags, BenchReport& report) {
  const StepPlan plan = plan_of(flags);
  const bool gpu = flags.device != "cpu";
  report["model"] = decode_model_text(plan.shape, plan.source);
  report["precision"] = flags.precision;
  Json asked = decode_question(plan.shape, flags);
  asked.update({{"source", plan.source},
                {"length", plan.length},
                {"first", true},
                {"seconds_for_ways", flags.quick ? 0 : 60},  // compiling, on one GPU, for three batch sizes
                {"warmup", plan.warmup},
                {"runs", plan.runs}});
  std::vector<Peer> peers = {
      {"decode_hf.py", "Hugging Face generate", true, gpu ? 3 : plan.runs},
      {"decode_static.py", gpu ? "PyTorch, static cache, CUDA graph" : "PyTorch, static cache", false,
       plan.runs}};
  std::map<StepCase, Side> floe;
  const int rounds = flags.quick ? 1 : flags.rounds;
  for (int round = 0; round < rounds; ++round) {
    for (const StepCase& c : plan.cases) {
      Json one = asked;
      one.update({{"batch", c.batch}, {"beam", c.beam}});
      const Json answer = run_for_json({own_program(), "bench", "decode", "--one", one.dump()});
      floe[c].add(answer);
      report.ran_on(answer, flags);
      std::map<std::string, double> by_op;
      for (const Json& line : answer.at("profile"))
        by_op[line.at("op")] += line.at("milliseconds").get<double>();
      report["profiles"][fmt::format("beam {}, batch {}", c.beam, c.batch)] = by_op;
    }
    if (flags.peer.empty()) continue;
    for (Peer& peer : peers) {
      ask_peer(flags, plan, asked, peer, report);
      if (round + 1 < rounds) continue;
      for (const StepCase& c : plan.cases) {
        if (peer.sides.count(c) != 0) add_rows(plan, c, floe[c], peer, gpu, report);
      }
    }
  }
  if (!flags.peer.empty()) return;
  for (const StepCase& c : plan.cases) add_rows(plan, c, floe[c], peers.front(), gpu, report);
}

}  // namespace floe
