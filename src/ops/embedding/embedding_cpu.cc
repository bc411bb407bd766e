// Rows by id; the gradient adds the rows of one id in order of position, so that bits do not depend on
// threads.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "kernel/cpu/sums.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int64_t kGrain = 1 << 14;  // elements a task moves

void check_id(int64_t id, int64_t at, int64_t rows) {
  if (id < 0 || id >= rows) fail_user("[embedding] id {} at position {} is outside 0..{}", id, at, rows - 1);
}

BoundKernel bind_embedding(const KernelCall& call) {
  const int64_t rows = call.inputs[0].dim(0), d = call.inputs[0].dim(1), n = call.inputs[1].size();
  const size_t bytes = static_cast<size_t>(d) * size_of(call.inputs[0].dtype);
  return {0, [=](const KernelRun& run) {
            const int32_t* ids = run.inputs[1].as<int32_t>();
            const char* table = run.inputs[0].as<char>();
            char* y = run.outputs[0].as<char>();
            run.pool->run_ranges(n, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, d)),
                                 [&](int64_t begin, int64_t end, int) {
                                   for (int64_t at = begin; at < end; ++at) {
                                     check_id(ids[at], at, rows);
                                     if (bytes == 0) continue;
                                     std::memcpy(y + static_cast<size_t>(at) * bytes,
                                                 table + static_cast<size_t>(ids[at]) * bytes, bytes);
                                   }
                                 });
          }};
}

// Positions are sorted by id, keeping their order (a counting sort); then each row of the table has its own
// list.
BoundKernel bind_embedding_grad(const KernelCall& call) {
  const int64_t rows = call.outputs[0].dim(0), d = call.outputs[0].dim(1), n = call.inputs[0].size();
  BoundKernel bound;
  bound.workspace = static_cast<size_t>(rows + 1 + n) * sizeof(int64_t);
  bound.run = [=](const KernelRun& run) {
    const int32_t* ids = run.inputs[0].as<int32_t>();
    const float* dy = run.inputs[1].as<float>();
    float* out = run.outputs[0].as<float>();
    int64_t* ends = static_cast<int64_t*>(run.workspace);  // after the sort: one past the last of each id
    int64_t* order = ends + rows + 1;
    std::fill_n(ends, rows + 1, 0);
    for (int64_t at = 0; at < n; ++at) {
      check_id(ids[at], at, rows);
      ++ends[ids[at] + 1];
    }
    for (int64_t id = 0; id < rows; ++id) ends[id + 1] += ends[id];
    for (int64_t at = 0; at < n; ++at) order[ends[ids[at]]++] = at;
    run.pool->run_ranges(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, d)),
                         [&](int64_t begin, int64_t end, int) {
                           for (int64_t id = begin; id < end; ++id) {
                             float* row = out + id * d;
                             const int64_t first = id == 0 ? 0 : ends[id - 1];
                             if (first == ends[id]) {
                               std::fill_n(row, d, 0.0f);
                               continue;
                             }
                             std::copy_n(dy + order[first] * d, d, row);
                             for (int64_t k = first + 1; k < ends[id]; ++k) add_to(row, dy + order[k] * d, d);
                           }
                         });
  };
  return bound;
}

}  // namespace

void add_embedding_cpu(KernelTable& table) {
  table.add({.op = "embedding",
             .name = "embedding.any",
             .supports = [](const KernelSignature&) { return true; },
             .bind = bind_embedding});
  table.add({.op = "embedding_grad",
             .name = "embedding_grad.f32",
             .supports = [](const KernelSignature& s) { return s.inputs[1] == DType::f32; },
             .bind = bind_embedding_grad});
}

}  // namespace floe
