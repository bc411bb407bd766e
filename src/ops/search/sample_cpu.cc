// Rows are independent; weights and sums in double, ids in ascending order, so a draw has one meaning.
#include <algorithm>
#include <cmath>
#include <limits>

#include "device/cpu/thread_pool.h"
#include "ops/search/search_kernel.h"
#include "tensor/philox.h"

namespace floe {
namespace {

enum Input { kLogits, kScores, kTemperature, kTopK, kTopP, kSeeds, kOrdinals, kDraws, kPositions };

constexpr float kNone = -std::numeric_limits<float>::infinity();

struct Drawer {
  const float* x;
  double most;
  double temperature;

  double weight(int32_t id) const {
    return temperature > 0 ? std::exp((static_cast<double>(x[id]) - most) / temperature) : 1;
  }
  bool more_probable(int32_t a, int32_t b) const { return x[a] > x[b] || (x[a] == x[b] && a < b); }

  // Keeps the fewest most probable of ids[0..kept) that reach top_p of their sum. Sorts a growing part, for
  // the part that is needed is mostly short.
  int64_t nucleus(int32_t* ids, int64_t kept, double top_p, double total) const {
    const auto order = [this](int32_t a, int32_t b) { return more_probable(a, b); };
    double mass = 0;
    int64_t sorted = 0;
    for (int64_t j = 0; j < kept; ++j) {
      if (j == sorted) {
        const int64_t part = std::min(kept, std::max<int64_t>(64, 2 * sorted));
        std::partial_sort(ids + sorted, ids + part, ids + kept, order);
        sorted = part;
      }
      mass += weight(ids[j]);
      if (mass >= top_p * total) return j + 1;
    }
    return kept;
  }
};

void sample_row(const KernelRun& run, int64_t row, int64_t op_id, int32_t* ids) {
  const int64_t vocabulary = run.inputs[kLogits].dim(1);
  const float* x = run.inputs[kLogits].as<float>() + row * vocabulary;
  const auto number = [&](Input input) { return run.inputs[input].as<float>()[row]; };
  const auto integer = [&](Input input) { return run.inputs[input].as<int32_t>()[row]; };
  float& value = run.outputs[0].as<float>()[row];
  float& log_prob = run.outputs[3].as<float>()[row];
  int32_t& token = run.outputs[1].as<int32_t>()[row];
  int32_t& parent = run.outputs[2].as<int32_t>()[row];

  const float score = number(kScores);
  int64_t kept = 0;
  float most = kNone;
  bool sound = score == score;
  for (int64_t id = 0; id < vocabulary; ++id) {
    sound = sound && x[id] < std::numeric_limits<float>::infinity();  // false for NaN
    if (x[id] > kNone) ids[kept++] = static_cast<int32_t>(id);
    most = x[id] > most ? x[id] : most;
  }
  value = sound ? kNone : std::numeric_limits<float>::quiet_NaN();
  log_prob = kNone;
  token = parent = -1;
  if (!sound || kept == 0 || score == kNone) return;

  double exps = 0;
  for (int64_t j = 0; j < kept; ++j) exps += std::exp(static_cast<double>(x[ids[j]]) - most);
  const Drawer drawer{x, most, number(kTemperature)};
  const int64_t limit = drawer.temperature > 0 ? integer(kTopK) : 1;
  const auto order = [&](int32_t a, int32_t b) { return drawer.more_probable(a, b); };
  const float top_p = number(kTopP);
  if (limit > 0 && limit < kept) {
    std::partial_sort(ids, ids + limit, ids + kept, order);
    kept = limit;
  }
  if (top_p < 1 && kept > 1) {
    double total = 0;
    for (int64_t j = 0; j < kept; ++j) total += drawer.weight(ids[j]);
    kept = drawer.nucleus(ids, kept, top_p, total);
  }
  std::sort(ids, ids + kept);

  const PhiloxCoordinates at{0, static_cast<uint32_t>(integer(kPositions)),
                             static_cast<uint32_t>(integer(kOrdinals)),
                             static_cast<uint32_t>(integer(kDraws))};
  const uint32_t bits = philox_bits(static_cast<uint32_t>(integer(kSeeds)), static_cast<uint32_t>(op_id), at);
  double goal = 0;
  for (int64_t j = 0; j < kept; ++j) goal += drawer.weight(ids[j]);
  goal *= philox_uniform(bits);
  int64_t chosen = 0;
  double sum = drawer.weight(ids[0]);
  while (chosen + 1 < kept && sum <= goal) sum += drawer.weight(ids[++chosen]);

  token = ids[chosen];
  parent = 0;
  log_prob = static_cast<float>(static_cast<double>(x[token]) - most - std::log(exps));
  value = score + log_prob;
}

}  // namespace

void add_sample_cpu(KernelTable& table) {
  Kernel kernel;
  kernel.op = "sample";
  kernel.name = "sample.f32";
  kernel.supports = [](const KernelSignature& s) {
    return s.inputs[kLogits] == DType::f32 && s.inputs[kScores] == DType::f32 &&
           s.inputs[kTemperature] == DType::f32 && s.inputs[kTopP] == DType::f32;
  };
  kernel.bind = [](const KernelCall& call) {
    const int64_t op_id = call.attrs.integer("op_id");
    const int64_t vocabulary = call.inputs[kLogits].dim(1);
    return BoundKernel{static_cast<size_t>(call.threads) * static_cast<size_t>(vocabulary) * sizeof(int32_t),
                       [op_id, vocabulary](const KernelRun& run) {
                         auto* ids = static_cast<int32_t*>(run.workspace);
                         run.pool->run(run.inputs[kLogits].dim(0), [&](int64_t row, int worker) {
                           sample_row(run, row, op_id, ids + worker * vocabulary);
                         });
                       }};
  };
  table.add(std::move(kernel));
}

}  // namespace floe
