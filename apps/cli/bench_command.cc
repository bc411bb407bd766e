// floe bench train, decode, gemm and attention: flags, and the command line that a result is filed under.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "bench_attention.h"
#include "bench_decode.h"
#include "bench_gemm.h"
#include "bench_train.h"
#include "command.h"
#include "threads.h"

namespace floe {
namespace {

struct Which {
  const char* name;
  const char* summary;
  const char* cases;
  int (*run)(const BenchFlags&);
  int (*one)(const std::string&);
  int rounds = 3;
};

constexpr Which kTrain = {
    "train", "updates of random batches, beside PyTorch",
    "multi30k, tatoeba, small, base-16x32, base-128x32 or all (unless given); on cuda small, base, "
    "base-large, big or all",
    bench_train, bench_train_one};
constexpr Which kDecode = {"decode", "forced lengths, without KV cache and beside CTranslate2 or PyTorch",
                           "cache, peer, both (all, unless given), or steps; on cuda steps alone",
                           bench_decode, bench_decode_one};
constexpr Which kGemm = {"gemm", "matrix products, beside PyTorch", "all (unless given)", bench_gemm,
                         bench_gemm_one};
constexpr Which kAttention = {"attention",
                              "attention and its gradient, beside PyTorch's back ends",
                              "forward, backward, own, decode, all of them (all, unless given), or memory",
                              bench_attention,
                              bench_attention_one,
                              5};

// What was given, so that a result can be had again; without values that are the same anyway.
std::string command_text(const Which& which, const BenchFlags& flags) {
  std::string text = fmt::format("floe bench {} --case {} --threads {} --rounds {}", which.name, flags.which,
                                 flags.threads, flags.rounds);
  if (flags.device != "cpu")
    text += fmt::format(" --device {} --precision {}", flags.device, flags.precision);
  if (!flags.peer.empty()) text += " --peer PYTHON";
  if (flags.quick) text += " --quick";
  return text;
}

struct Given {
  BenchFlags flags;
  std::optional<int> rounds;
  std::string one;
};

void add(CLI::App& app, const Which& which, const std::shared_ptr<Given>& given, CLI::App** added) {
  CLI::App* sub = app.add_subcommand(which.name, which.summary);
  sub->allow_extras();
  BenchFlags& flags = given->flags;
  sub->add_option("--case", flags.which, which.cases);
  sub->add_option("--peer", flags.peer, "a Python that has the peer installed; Floe alone unless given");
  sub->add_option("--scripts", flags.scripts, "folder of the peers' scripts; bench unless given");
  sub->add_option(
      "--output", flags.output,
      fmt::format("the results; bench/results/{0}-cpu.json or {0}-h100.json unless given", which.name));
  sub->add_option("--device", flags.device, "cpu (unless given) or cuda");
  sub->add_option("--precision", flags.precision, "f32 (unless given) or, on cuda, bf16");
  sub->add_option("--threads", flags.threads, "processor threads of each side; 2 unless given");
  sub->add_option("--rounds", given->rounds,
                  fmt::format("turns of each side, {} unless given; their median counts", which.rounds));
  sub->add_flag("--quick", flags.quick, "tiny models: shows that it works, not how fast");
  sub->add_option("--one", given->one, "one measurement in this process; for the benchmark itself")
      ->group("");
  *added = sub;
}

int run(const Which& which, const Given& given) {
  if (!given.one.empty()) return which.one(given.one);
  BenchFlags flags = given.flags;
  flags.rounds = given.rounds.value_or(which.rounds);
  if (flags.threads < 1)
    throw UsageError(fmt::format("--threads is {}; it must be at least 1", flags.threads));
  if (flags.rounds < 1) throw UsageError(fmt::format("--rounds is {}; it must be at least 1", flags.rounds));
  flags.threads = thread_count(flags.threads);
  flags.command = command_text(which, flags);
  return which.run(flags);
}

}  // namespace

Run bench_command(CLI::App& app) {
  auto given = std::make_shared<Given>();
  CLI::App *train = nullptr, *decode = nullptr, *gemm = nullptr, *attention = nullptr;
  add(app, kTrain, given, &train);
  add(app, kDecode, given, &decode);
  add(app, kGemm, given, &gemm);
  add(app, kAttention, given, &attention);
  return [given, train, decode, gemm, attention] {
    if (train->parsed()) return run(kTrain, *given);
    if (decode->parsed()) return run(kDecode, *given);
    if (gemm->parsed()) return run(kGemm, *given);
    if (attention->parsed()) return run(kAttention, *given);
    throw UsageError("bench measures train, decode, gemm or attention: floe bench train, floe bench decode");
  };
}

}  // namespace floe
