// Chunks of rows, so that full logits never exist. For each chunk: its rows (ignored ones left out) gathered;
// logits by one product; each row of logits turned into softmax minus target in place; dx by a second
// product; dweight by a third that adds. Weights are packed once for the first two. Chunks come in order and
// are cut by the sizes alone, so sums are deterministic; inside a chunk all threads work on the same product.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "kernel/cpu/gemm.h"
#include "kernel/cpu/row_softmax.h"
#include "kernel/cpu/sums.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int64_t kChunkFloats = 1 << 19;  // 2 MiB of logits
constexpr int64_t kFewestRows = 64;        // every chunk reads the weights twice and dweight once: share that
constexpr int64_t kRowStep = 16;
constexpr int64_t kMostRows = 512;
constexpr int64_t kColumns = 4096;  // of dbias, for a task

int64_t chunk_rows(int64_t rows, int64_t classes) {
  const int64_t fit = kChunkFloats / std::max<int64_t>(1, classes) / kRowStep * kRowStep;
  return std::min(std::max<int64_t>(1, rows), std::clamp(fit, kFewestRows, kMostRows));
}

struct Plan {
  int64_t rows, classes, d, chunk;
  bool gradients, bias;
  double smoothing;
  int64_t ignore;
  std::unique_ptr<Gemm> logits;         // [chunk, V] = x [chunk, d] weight [V, d]^T
  std::unique_ptr<Gemm> dx;             // [chunk, d] = g [chunk, V] weight [V, d]
  std::unique_ptr<Gemm> dweight_first;  // [V, d] = g [chunk, V]^T x [chunk, d]
  std::unique_ptr<Gemm> dweight_next;   // the same, added
};

// Parts of the workspace, each a multiple of 64 bytes.
struct Memory {
  char* base;
  size_t used = 0;
  template <class T>
  T* take(size_t bytes) {
    T* at = base == nullptr ? nullptr : reinterpret_cast<T*>(base + used);
    used += (bytes + 63) / 64 * 64;
    return at;
  }
};
struct Buffers {
  char *weight_for_logits, *weight_for_dx, *scratch;
  float *x, *logits, *dx;
  int64_t* valid;      // positions that count
  double *loss, *nll;  // of the rows of a chunk
  Buffers(const Plan& p, int threads, Memory& m) {
    weight_for_logits = m.take<char>(p.logits->packed_bytes());
    weight_for_dx = m.take<char>(p.gradients ? p.dx->packed_bytes() : 0);
    size_t most = p.logits->packed_workspace(threads);
    if (p.gradients) {
      most = std::max({most, p.dx->packed_workspace(threads), p.dweight_first->workspace(threads)});
    }
    scratch = m.take<char>(most);
    const auto floats = [](int64_t n) { return static_cast<size_t>(n) * sizeof(float); };
    x = m.take<float>(floats(p.chunk * p.d));
    logits = m.take<float>(floats(p.chunk * p.classes));
    dx = m.take<float>(p.gradients ? floats(p.chunk * p.d) : 0);
    valid = m.take<int64_t>(static_cast<size_t>(p.rows) * sizeof(int64_t));
    loss = m.take<double>(static_cast<size_t>(p.chunk) * sizeof(double));
    nll = m.take<double>(static_cast<size_t>(p.chunk) * sizeof(double));
  }
};

struct Sums {
  double loss = 0, nll = 0;
};

// One row of logits: its loss, and its gradient in place.
Sums finish_row(const Plan& p, float* row, int32_t target) {
  const double at_target = row[target];
  const RowExp e = exp_row(row, p.classes);
  const double lse = e.most + std::log(static_cast<double>(e.sum_exp));
  const double mean = e.sum / static_cast<double>(p.classes);
  const bool finite = std::isfinite(e.sum) && std::isfinite(e.most);
  if (p.gradients) {
    const float share = finite ? 1.0f / e.sum_exp : std::numeric_limits<float>::quiet_NaN();
    scale_row(row, p.classes, share, static_cast<float>(-p.smoothing / static_cast<double>(p.classes)));
    row[target] -= static_cast<float>(1 - p.smoothing);
  }
  if (!finite) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  const double nll = lse - at_target;
  return {(1 - p.smoothing) * nll + p.smoothing * (lse - mean), nll};
}

void add_columns(const float* g, int64_t rows, int64_t columns, float* sum, ThreadPool& pool) {
  pool.run_ranges(columns, kColumns, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = 0; row < rows; ++row) add_to(sum + begin, g + row * columns + begin, end - begin);
  });
}

int64_t collect_valid(const Plan& p, const int32_t* targets, int64_t* valid) {
  int64_t count = 0;
  for (int64_t at = 0; at < p.rows; ++at) {
    if (targets[at] == p.ignore) continue;
    if (targets[at] < 0 || targets[at] >= p.classes) {
      fail_user("[linear_cross_entropy] target {} at position {} is outside 0..{}", targets[at], at,
                p.classes - 1);
    }
    valid[count++] = at;
  }
  return count;
}

void run(const Plan& p, const KernelRun& run) {
  ThreadPool& pool = *run.pool;
  Memory memory{static_cast<char*>(run.workspace)};
  const Buffers m(p, pool.threads(), memory);
  const float* x = run.inputs[0].as<float>();
  const float* weight = run.inputs[1].as<float>();
  const int32_t* targets = run.inputs[2].as<int32_t>();
  const float* bias = p.bias ? run.inputs[3].as<float>() : nullptr;
  float* dx = p.gradients ? run.outputs[3].as<float>() : nullptr;
  float* dweight = p.gradients ? run.outputs[4].as<float>() : nullptr;
  float* dbias = p.gradients && p.bias ? run.outputs[5].as<float>() : nullptr;

  const int64_t valid = collect_valid(p, targets, m.valid);
  if (p.gradients) {
    if (valid < p.rows) std::fill_n(dx, p.rows * p.d, 0.0f);
    if (valid == 0) std::fill_n(dweight, p.classes * p.d, 0.0f);
    if (dbias != nullptr) std::fill_n(dbias, p.classes, 0.0f);
  }
  if (valid > 0) {
    p.logits->pack(weight, m.weight_for_logits, pool);
    if (p.gradients) p.dx->pack(weight, m.weight_for_dx, pool);
  }
  Sums total;
  for (int64_t begin = 0; begin < valid; begin += p.chunk) {
    const int64_t rows = std::min(p.chunk, valid - begin);
    const auto bytes = static_cast<size_t>(p.d) * sizeof(float);
    for (int64_t i = 0; i < p.chunk; ++i) {  // rows past the last valid one are zeros: they add nothing
      if (i < rows && bytes > 0) std::memcpy(m.x + i * p.d, x + m.valid[begin + i] * p.d, bytes);
      if (i >= rows) std::fill_n(m.x + i * p.d, p.d, 0.0f);
    }
    p.logits->run_packed(m.x, m.weight_for_logits, m.logits, bias, m.scratch, pool);
    pool.run(p.chunk, [&](int64_t i, int) {
      float* row = m.logits + i * p.classes;
      if (i >= rows) {
        std::fill_n(row, p.classes, 0.0f);
        return;
      }
      const Sums sums = finish_row(p, row, targets[m.valid[begin + i]]);
      m.loss[i] = sums.loss;
      m.nll[i] = sums.nll;
    });
    for (int64_t i = 0; i < rows; ++i) {
      total.loss += m.loss[i];
      total.nll += m.nll[i];
    }
    if (!p.gradients) continue;
    p.dx->run_packed(m.logits, m.weight_for_dx, m.dx, nullptr, m.scratch, pool);
    for (int64_t i = 0; i < rows && bytes > 0; ++i) {
      std::memcpy(dx + m.valid[begin + i] * p.d, m.dx + i * p.d, bytes);
    }
    const Gemm& gemm = begin == 0 ? *p.dweight_first : *p.dweight_next;
    gemm.run(m.logits, m.x, dweight, nullptr, m.scratch, pool);
    if (dbias != nullptr) add_columns(m.logits, rows, p.classes, dbias, pool);
  }
  *run.outputs[0].as<float>() = static_cast<float>(total.loss);
  *run.outputs[1].as<float>() = static_cast<float>(total.nll);
  *run.outputs[2].as<float>() = static_cast<float>(valid);
}

BoundKernel bind(const KernelCall& call, bool gradients) {
  const auto plan = std::make_shared<Plan>();
  Plan& p = *plan;
  p.rows = call.inputs[2].size();
  p.classes = call.inputs[1].dim(0);
  p.d = call.inputs[1].dim(1);
  p.chunk = chunk_rows(p.rows, p.classes);
  p.gradients = gradients;
  p.bias = call.attrs.flag("bias", false);
  p.smoothing = call.attrs.number("label_smoothing");
  p.ignore = call.attrs.integer("ignore_index");
  p.logits = std::make_unique<Gemm>(GemmShape{.m = p.chunk, .n = p.classes, .k = p.d, .transpose_b = true});
  if (gradients) {
    p.dx = std::make_unique<Gemm>(GemmShape{.m = p.chunk, .n = p.d, .k = p.classes});
    GemmShape dweight{.m = p.classes, .n = p.d, .k = p.chunk, .transpose_a = true};
    p.dweight_first = std::make_unique<Gemm>(dweight);
    dweight.accumulate = true;
    p.dweight_next = std::make_unique<Gemm>(dweight);
  }
  Memory memory{nullptr};
  const Buffers sizes(p, call.threads, memory);
  return {memory.used, [plan](const KernelRun& r) { run(*plan, r); }};
}

bool supports(const KernelSignature& s) {
  for (size_t i = 0; i < s.inputs.size(); ++i) {
    if (s.inputs[i] != (i == 2 ? DType::i32 : DType::f32)) return false;
  }
  return true;
}

}  // namespace

void add_linear_cross_entropy_cpu(KernelTable& table) {
  for (const bool gradients : {false, true}) {
    const std::string op = gradients ? "linear_cross_entropy_grad" : "linear_cross_entropy";
    table.add(
        {.op = op, .name = op + ".f32", .supports = supports, .bind = [gradients](const KernelCall& call) {
           return bind(call, gradients);
         }});
  }
}

}  // namespace floe
