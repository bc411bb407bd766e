// Copies new keys or values to the cache slots that each row's table names; ids are checked, since tables
// are data.
#include <cstring>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int64_t kRowsOfATask = 16;

BoundKernel bind_append(const KernelCall& call) {
  const View cache = call.inputs[0];
  const View added = call.inputs[1];
  const int64_t table_width = call.inputs[2].dims[1];
  const auto size = static_cast<int64_t>(size_of(cache.dtype));
  return {0, [=](const KernelRun& run) {
            const auto* from = run.inputs[1].as<char>();
            const auto* table = run.inputs[2].as<int32_t>();
            const auto* positions = run.inputs[3].as<int32_t>();
            auto* to = run.outputs[0].as<char>();
            if (to != run.inputs[0].data && cache.size() > 0) {
              std::memcpy(to, run.inputs[0].data, static_cast<size_t>(cache.size() * size));
            }
            const int64_t block = cache.dims[1];
            const int64_t heads = cache.dims[2];
            const int64_t head_bytes = cache.dims[3] * size;
            const auto append = [&](int64_t r) {
              for (int64_t t = 0; t < added.dims[1]; ++t) {
                const int64_t position = int64_t{positions[r]} + t;
                if (position < 0 || position >= table_width * block) {
                  fail_user("[cache_append] row {}: position {} is outside its table of {} blocks of {}", r,
                            position, table_width, block);
                }
                const int64_t slot = table[r * table_width + position / block];
                if (slot == -1) continue;
                if (slot < 0 || slot >= cache.dims[0]) {
                  fail_user("[cache_append] row {}: table names block {} of {}", r, slot, cache.dims[0]);
                }
                for (int64_t h = 0; h < heads && head_bytes > 0; ++h) {
                  std::memcpy(
                      to + ((slot * block + position % block) * heads + h) * head_bytes,
                      from + (r * added.strides[0] + t * added.strides[1] + h * added.strides[2]) * size,
                      static_cast<size_t>(head_bytes));
                }
              }
            };
            // A row is a copy of a few hundred bytes: several make a task.
            run.pool->run_ranges(added.dims[0], kRowsOfATask, [&](int64_t begin, int64_t end, int) {
              for (int64_t r = begin; r < end; ++r) append(r);
            });
          }};
}

}  // namespace

void add_cache_append_cpu(KernelTable& table) {
  Kernel kernel;
  kernel.op = "cache_append";
  kernel.name = "cache_append";
  kernel.supports = [](const KernelSignature&) { return true; };
  kernel.bind = bind_append;
  kernel.strided_inputs = 0b10;
  kernel.in_place = {{0, 0}};
  table.add(std::move(kernel));
}

}  // namespace floe
