// Runs of elements behind the axis, copied by index.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int64_t kGrain = 1 << 14;  // bytes a task moves

template <class Index>
BoundKernel bind(const KernelCall& call) {
  const View &x = call.inputs[0], &indices = call.inputs[1];
  const int64_t given = call.attrs.integer("axis");
  const auto axis = static_cast<int>(given < 0 ? given + x.rank : given);
  int64_t outer = 1, inner = static_cast<int64_t>(size_of(x.dtype));
  for (int i = 0; i < axis; ++i) outer *= x.dims[i];
  for (int i = axis + 1; i < x.rank; ++i) inner *= x.dims[i];
  const int64_t n = x.dims[axis], many = indices.size();
  if (call.outputs[0].size() == 0) return {0, [](const KernelRun&) {}};
  return {0, [=](const KernelRun& run) {
            const Index* at = run.inputs[1].as<Index>();
            const char* from = run.inputs[0].as<char>();
            char* to = run.outputs[0].as<char>();
            run.pool->run_ranges(outer * many, std::max<int64_t>(1, kGrain / inner),
                                 [&](int64_t begin, int64_t end, int) {
                                   for (int64_t row = begin; row < end; ++row) {
                                     const auto index = static_cast<int64_t>(at[row % many]);
                                     if (index < 0 || index >= n)
                                       fail_user("[gather] index {} at position {} is outside 0..{}", index,
                                                 row % many, n - 1);
                                     std::memcpy(to + row * inner, from + (row / many * n + index) * inner,
                                                 static_cast<size_t>(inner));
                                   }
                                 });
          }};
}

}  // namespace

void add_gather_cpu(KernelTable& table) {
  for (const bool wide : {false, true}) {
    const DType index = wide ? DType::i64 : DType::i32;
    table.add({.op = "gather",
               .name = wide ? "gather.i64" : "gather.i32",
               .supports = [index](const KernelSignature& s) { return s.inputs[1] == index; },
               .bind = wide ? bind<int64_t> : bind<int32_t>});
  }
}

}  // namespace floe
