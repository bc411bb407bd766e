#include "bench_gemm.h"

#include <fmt/core.h>

#include <algorithm>

#include "bench_process.h"
#include "bench_report.h"
#include "command.h"
#include "passes/mixed_precision.h"
#include "tensor/dtype.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

struct Product {
  int64_t m, n, k;
  bool inference = false;  // by the kernels of inference, whose rows do not depend on each other
};

std::vector<Product> products_of(const BenchFlags& flags) {
  if (flags.quick) return {{4, 8, 16, true}, {128, 8, 16}};
  std::vector<Product> all = {
      {4096, 4096, 4096}, {16384, 4096, 1024}, {4096, 2048, 512}, {64, 4096, 4096}, {16, 14336, 4096}};
  if (flags.device != "cpu") all.insert(all.begin(), {8192, 8192, 8192});  // two cores take seconds for one
  for (const int64_t rows : {1, 64, 256}) {  // a decoding step of the base model
    for (const auto& [n, k] : {std::pair{512, 512}, {2048, 512}, {512, 2048}, {32000, 512}})
      all.push_back({rows, n, k, true});
  }
  return all;
}

double bytes_of(const Product& p, size_t element) {
  return static_cast<double>((p.m * p.k + p.k * p.n + p.m * p.n)) * static_cast<double>(element);
}

// So many sets of operands take turns that none of them is found in a cache, and that one launch of them all
// is long beside its own cost.
int64_t sets_of(const Product& p, size_t element, const BenchFlags& flags) {
  if (flags.quick) return 2;
  constexpr double kPastEveryCache = 192.0 * (1 << 20);  // an H100's L2 has 50 MiB
  const int64_t least = flags.device == "cpu" ? 2 : 4;
  return std::clamp<int64_t>(static_cast<int64_t>(kPastEveryCache / bytes_of(p, element)) + 1, least, 256);
}

}  // namespace

int bench_gemm(const BenchFlags& flags) {
  if (flags.which != "all")
    throw UsageError(fmt::format("--case is all: the products are measured together, not '{}'", flags.which));
  Precision precision{};
  parse(flags.precision, &precision);
  const size_t element = size_of(precision == Precision::bf16 ? DType::bf16 : DType::f32);
  const std::vector<Product> products = products_of(flags);
  const bool gpu = flags.device != "cpu";
  Json asked = {{"device", flags.device},
                {"precision", flags.precision},
                {"threads", flags.threads},
                {"samples", flags.quick ? 1 : 5},
                {"sample_seconds", flags.quick ? 0.001
                                   : gpu       ? 0.1
                                               : 0.4}};
  for (const Product& p : products)
    asked["products"].push_back({{"m", p.m},
                                 {"n", p.n},
                                 {"k", p.k},
                                 {"sets", sets_of(p, element, flags)},
                                 {"row_invariant", p.inference}});

  BenchReport report(flags.command, flags.threads, results_path(flags, "gemm"));
  report["precision"] = flags.precision;
  std::vector<std::vector<double>> ours(products.size()), theirs(products.size());
  const auto keep = [&](const Json& answer, std::vector<std::vector<double>>& into) {
    for (size_t i = 0; i < products.size(); ++i) into[i].push_back(answer.at("seconds").at(i));
  };
  for (int round = 0; round < (flags.quick ? 1 : flags.rounds); ++round) {
    const Json answer = run_for_json({own_program(), "bench", "gemm", "--one", asked.dump()});
    keep(answer, ours);
    report.ran_on(answer, flags);
    if (flags.peer.empty()) continue;
    const Json peer = run_for_json({flags.peer, flags.scripts + "/gemm_peer.py", asked.dump()});
    keep(peer, theirs);
    report.version("pytorch", peer.at("version"));
  }
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& p = products[i];
    // With few rows the time goes into reading the weights.
    const bool by_bytes = p.m <= 64;
    const double work = by_bytes ? 1e-9 * bytes_of(p, element)
                                 : 2e-12 * static_cast<double>(p.m) * static_cast<double>(p.n * p.k);
    BenchRow row{fmt::format("{}x{}x{}, {}", p.m, p.n, p.k, flags.precision),
                 by_bytes ? "GB/s" : "TFLOP/s",
                 work / median(ours[i]),
                 {},
                 "torch.matmul"};
    if (!theirs[i].empty()) row.peer = work / median(theirs[i]);
    report.row(row);
    fmt::print("{}: {:.4g} {}{}\n", row.name, row.floe, row.metric,
               row.peer ? fmt::format(", {} {:.4g}", row.peer_name, *row.peer) : "");
  }
  report.write();
  return 0;
}

}  // namespace floe
