// Products of one turn. A program has one matmul for each set of operands, all of them states on the device:
// the weights are such that nothing changes, as in a model, so a kernel that packs them does so once. On a
// GPU the program is one recording, so a launch of them all is one call.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "bench_gemm.h"
#include "bench_numbers.h"
#include "bench_process.h"
#include "compile/compile.h"
#include "device/device.h"
#include "kernel/kernel.h"
#include "ops/all.h"
#include "ops/matmul/matmul.h"
#include "runtime/session.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

struct Sets {
  int64_t m, n, k, sets;
  DType dtype;
  bool row_invariant;
};

constexpr const char* kEntry = "products";

Graph graph_of(const Sets& s) {
  Graph graph(all_ops(), kEntry);
  Builder b(graph);
  for (int64_t i = 0; i < s.sets; ++i) {
    const Value x = b.state(fmt::format("x{}", i), {s.dtype, {s.m, s.k}});
    const Value w = b.state(fmt::format("w{}", i), {s.dtype, {s.n, s.k}});
    // Results are states, too: outputs would be copied to the host.
    const std::string y = fmt::format("y{}", i);
    b.state(y, {s.dtype, {s.m, s.n}});
    b.update(y, linear(b, x, w));
  }
  return graph;
}

struct Timing {
  double sample_seconds;
  int samples;
};

// Of one product.
double seconds_of(const Sets& s, const Timing& timing, const KernelTable& kernels, Device& device) {
  State state(&device);
  Numbers values(s.dtype);
  for (int64_t i = 0; i < s.sets; ++i) {
    state.set(fmt::format("x{}", i), values.tensor({s.m, s.k}));
    state.set(fmt::format("w{}", i), values.tensor({s.n, s.k}));
    state.set_zero(fmt::format("y{}", i), s.dtype, {s.m, s.n});
  }
  const auto program =
      compile({graph_of(s)}, kernels, {.device = device.kind(), .row_invariant = s.row_invariant});
  const size_t steps = program->entry(kEntry).steps.size();
  FLOE_CHECK(steps == static_cast<size_t>(s.sets), "{} products became {} steps", s.sets, steps);
  Session session(program, kernels, device, state);
  const auto timed = [&](int64_t launches) {
    device.wait();
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < launches; ++i) session.launch(kEntry, {});
    device.wait();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  timed(2);  // kernels are chosen in the first, recorded in the second
  const double once = timed(1);
  const int64_t launches =
      std::clamp<int64_t>(static_cast<int64_t>(timing.sample_seconds / once) + 1, 1, 10'000);
  std::vector<double> samples;
  for (int i = 0; i < timing.samples; ++i)
    samples.push_back(timed(launches) / static_cast<double>(launches * s.sets));
  return median(samples);
}

}  // namespace

int bench_gemm_one(const std::string& text) {
  const Json q = Json::parse(text);
  DeviceKind kind{};
  parse(q.at("device").get<std::string>(), &kind);
  KernelTable kernels;
  add_all_kernels(kind, kernels);
  const std::unique_ptr<Device> device = open_device(kind, q.at("threads"));
  const DType dtype = parse_dtype(q.at("precision").get<std::string>());
  const Timing timing{q.at("sample_seconds"), q.at("samples")};
  Json seconds = Json::array();
  for (const Json& p : q.at("products"))
    seconds.push_back(
        seconds_of({p.at("m"), p.at("n"), p.at("k"), p.at("sets"), dtype, p.at("row_invariant")}, timing,
                   kernels, *device));
  fmt::print("{}\n",
             Json({{"seconds", seconds}, {"device", device->name()}, {"version", FLOE_VERSION}}).dump());
  return 0;
}

}  // namespace floe
