// x is copied, then the updates go in one after the other, each thread with columns of its own, so that the
// order of a row's updates is theirs.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "kernel/kernel.h"
#include "ops/scatter/scatter_join_kernel.h"

namespace floe {
namespace {

constexpr int64_t kColumns = 1 << 10;  // elements of a row that one task has

template <class T>
BoundKernel bind(const KernelCall& call) {
  const View &x = call.inputs[0], &indices = call.inputs[1];
  const Join join = join_of(call.attrs.text("reduction"));
  const bool wide = indices.dtype == DType::i64;
  const int64_t n = x.dims[0], m = indices.size(), d = n == 0 ? 0 : x.size() / n;
  const size_t bytes = x.bytes();
  return {0, [=](const KernelRun& run) {
            T* to = run.outputs[0].as<T>();
            if (bytes > 0) std::memcpy(to, run.inputs[0].data, bytes);
            const T* from = run.inputs[2].as<T>();
            const auto index = [&](int64_t k) {
              return wide ? run.inputs[1].as<int64_t>()[k] : int64_t{run.inputs[1].as<int32_t>()[k]};
            };
            for (int64_t k = 0; k < m; ++k) {
              if (index(k) < 0 || index(k) >= n)
                fail_user("[scatter] index {} at position {} is outside 0..{}", index(k), k, n - 1);
            }
            run.pool->run_ranges(d, kColumns, [&](int64_t begin, int64_t end, int) {
              for (int64_t k = 0; k < m; ++k) {
                T* row = to + index(k) * d;
                for (int64_t j = begin; j < end; ++j) row[j] = joined(join, row[j], from[k * d + j]);
              }
            });
          }};
}

template <class T>
void add_kernel(KernelTable& table, DType dtype) {
  table.add({.op = "scatter",
             .name = "scatter." + std::string(name_of(dtype)),
             .supports = [dtype](const KernelSignature& s) { return s.inputs[0] == dtype; },
             .bind = bind<T>});
}

}  // namespace

void add_scatter_cpu(KernelTable& table) {
  add_kernel<float>(table, DType::f32);
  add_kernel<int8_t>(table, DType::i8);
  add_kernel<uint8_t>(table, DType::u8);
  add_kernel<uint8_t>(table, DType::boolean);
  add_kernel<int32_t>(table, DType::i32);
  add_kernel<int64_t>(table, DType::i64);
}

}  // namespace floe
