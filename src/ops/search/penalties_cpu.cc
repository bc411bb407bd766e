// search_penalties on the CPU, row by row.
#include <algorithm>
#include <cstring>
#include <limits>

#include "device/cpu/thread_pool.h"
#include "ops/search/search_kernel.h"

namespace floe {
namespace {

enum Input { kLogits, kHistory, kLengths, kRepetition, kNgram, kMinLength, kEnds, kSuppressed, kForced };

constexpr float kNone = -std::numeric_limits<float>::infinity();

struct Row {
  float* logits;
  int64_t vocabulary;
  const int32_t* past;
  int64_t length;

  void ban(int32_t id) const {
    if (id >= 0 && id < vocabulary) logits[id] = kNone;
  }
  void ban_all(const View& ids, int64_t sentence) const {
    const int64_t width = ids.dim(1);
    for (int64_t j = 0; j < width; ++j) ban(ids.as<int32_t>()[sentence * width + j]);
  }

  void penalize_repetition(float penalty) const {
    for (int64_t i = 0; i < length; ++i) {
      const int32_t id = past[i];
      if (id < 0 || id >= vocabulary || std::find(past, past + i, id) != past + i) continue;
      logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
    }
  }

  void ban_ngrams(int64_t n) const {
    const int32_t* tail = past + length - (n - 1);
    for (int64_t i = 0; i + n <= length; ++i) {
      if (std::equal(past + i, past + i + n - 1, tail)) ban(past[i + n - 1]);
    }
  }

  void force(int32_t id) const {
    if (id < 0 || id >= vocabulary) return;
    std::fill_n(logits, vocabulary, kNone);
    logits[id] = 0;
  }
};

void run_penalties(const KernelRun& run, int64_t beam) {
  const View& logits = run.outputs[0];
  const int64_t rows = logits.dim(0);
  const int64_t vocabulary = logits.dim(1);
  const auto option = [&](Input input, int64_t s) { return run.inputs[input].as<int32_t>()[s]; };
  run.pool->run(rows, [&](int64_t r, int) {
    const int64_t s = r / beam;
    const Row row{logits.as<float>() + r * vocabulary, vocabulary,
                  run.inputs[kHistory].as<int32_t>() + r * run.inputs[kHistory].dim(1), option(kLengths, r)};
    if (run.inputs[kLogits].data != logits.data && vocabulary > 0) {
      std::memcpy(row.logits, run.inputs[kLogits].as<float>() + r * vocabulary,
                  static_cast<size_t>(vocabulary) * sizeof(float));
    }
    const float repetition = run.inputs[kRepetition].as<float>()[s];
    if (repetition != 1) row.penalize_repetition(repetition);
    if (option(kNgram, s) > 0) row.ban_ngrams(option(kNgram, s));
    if (row.length < option(kMinLength, s)) row.ban_all(run.inputs[kEnds], s);
    row.ban_all(run.inputs[kSuppressed], s);
    row.force(option(kForced, s));
  });
}

}  // namespace

void add_search_penalties_cpu(KernelTable& table) {
  Kernel kernel;
  kernel.op = "search_penalties";
  kernel.name = "search_penalties.f32";
  kernel.in_place = {{0, 0}};
  kernel.supports = [](const KernelSignature& s) {
    return s.inputs[kLogits] == DType::f32 && s.inputs[kRepetition] == DType::f32;
  };
  kernel.bind = [](const KernelCall& call) {
    const int64_t beam = call.attrs.integer("beam");
    return BoundKernel{0, [beam](const KernelRun& run) { run_penalties(run, beam); }};
  };
  table.add(std::move(kernel));
}

}  // namespace floe
