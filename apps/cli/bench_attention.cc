#include "bench_attention.h"

#include <fmt/core.h>

#include <map>
#include <memory>

#include "attention_case.h"
#include "bench_process.h"
#include "bench_report.h"
#include "bench_talk.h"
#include "passes/mixed_precision.h"
#include "tensor/dtype.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

struct Side {
  std::vector<double> seconds;
  std::optional<double> bytes;  // beside q, k, v and dout

  void add(const Json& answer) {
    seconds.push_back(answer.at("seconds"));
    if (!answer.at("bytes").is_null()) bytes = answer.at("bytes").get<double>();
  }
};

// What PyTorch calls them: their names in the report.
const std::map<std::string, std::string> kPeers = {
    {"math", "PyTorch, plain"}, {"flash", "PyTorch, FlashAttention"}, {"cudnn", "PyTorch, cuDNN"}};

struct Measured {
  Side floe;
  std::map<std::string, Side> peers;
};

// One row for each metric and peer.
void add_rows(const AttentionCase& c, size_t element, const Measured& m, BenchReport* report) {
  const bool decode = c.pass == AttentionCase::Pass::decode;
  const double work = decode ? 1e-9 * cache_bytes_of(c, element) : 1e-12 * flops_of(c);
  struct Metric {
    const char* name;
    bool more_is_better;
    std::optional<double> (*of)(const Side&, double work);
  };
  const Metric metrics[] = {
      {decode ? "GB/s" : "TFLOP/s", true,
       [](const Side& s, double all) { return std::optional(all / median(s.seconds)); }},
      {"ms", false, [](const Side& s, double) { return std::optional(1e3 * median(s.seconds)); }},
      {"peak memory, MiB", false, [](const Side& s, double) {
         return s.bytes ? std::optional(*s.bytes / (1 << 20)) : std::optional<double>();
       }}};
  std::string line;
  for (const Metric& metric : metrics) {
    BenchRow row{description(c), metric.name, metric.of(m.floe, work).value(), {}, "", metric.more_is_better};
    if (m.peers.empty()) report->row(row);
    line += fmt::format("{}{:.4g} {}", line.empty() ? "" : "; ", row.floe, row.metric);
    for (const auto& [key, side] : m.peers) {
      row.peer = metric.of(side, work);
      row.peer_name = kPeers.at(key);
      report->row(row);
      if (row.peer) line += fmt::format(", {} {:.4g}", key, *row.peer);
    }
  }
  fmt::print("{}: {}\n", description(c), line);
  std::fflush(stdout);
}

}  // namespace

int bench_attention(const BenchFlags& flags) {
  const bool gpu = flags.device != "cpu";
  const std::vector<AttentionCase> cases = attention_cases({flags.which, gpu, flags.quick});
  Precision precision{};
  parse(flags.precision, &precision);
  const size_t element = size_of(precision == Precision::bf16 ? DType::bf16 : DType::f32);
  const Json settings = {{"device", flags.device},
                         {"precision", flags.precision},
                         {"threads", flags.threads},
                         {"sample_seconds", flags.quick ? 0.001
                                            : gpu       ? 0.015
                                                        : 0.1}};
  BenchReport report(flags.command, flags.threads, results_path(flags, "attention"));
  report["precision"] = flags.precision;
  Talk floe({own_program(), "bench", "attention", "--one", settings.dump()});
  std::unique_ptr<Talk> peer;
  if (!flags.peer.empty())
    peer = std::make_unique<Talk>(
        std::vector<std::string>{flags.peer, flags.scripts + "/attention_peer.py", settings.dump()});
  for (const AttentionCase& c : cases) {
    const Json question = json_of(c);
    Measured measured;
    for (int round = 0; round < (flags.quick ? 1 : flags.rounds); ++round) {
      const Json answer = floe.ask(question);
      measured.floe.add(answer);
      report.ran_on(answer, flags);
      if (!peer) continue;
      const Json theirs = peer->ask(question);
      report.version("pytorch", theirs.at("version"));
      for (const auto& [key, back_end] : theirs.at("back_ends").items()) {
        if (!back_end.contains("failed")) {
          measured.peers[key].add(back_end);
        } else if (round == 0) {
          fmt::print("{}: {}: {}\n", description(c), key, back_end.at("failed").get<std::string>());
        }
      }
    }
    add_rows(c, element, measured, &report);
  }
  report.write();
  return 0;
}

}  // namespace floe
