#include "kernel/cpu/strided_copy.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "device/cpu/thread_pool.h"

namespace floe {
namespace {

constexpr int64_t kGrain = 1 << 14;  // elements a task moves
constexpr int64_t kTile = 16;        // a cache line of f32 each way

struct Offsets {
  int64_t from, to;
};

// Of index `at` over the first `rank` dims.
Offsets offsets_of(const CopyPlan& p, int rank, int64_t at) {
  Offsets o{0, 0};
  for (int i = rank - 1; i >= 0; --i) {
    const int64_t coordinate = at % p.dims[i];
    at /= p.dims[i];
    o.from += coordinate * p.from[i];
    o.to += coordinate * p.to[i];
  }
  return o;
}

int64_t product_of(const CopyPlan& p, int rank) {
  int64_t n = 1;
  for (int i = 0; i < rank; ++i) n *= p.dims[i];
  return n;
}

template <class T>
void copy_run(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t n) {
  if (to_stride == 1 && from_stride == 1) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
  } else if (to_stride == 1 && from_stride == 0) {
    std::fill_n(to, n, *from);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

// Runs along the last dim, long ones cut.
template <class T>
void copy_runs(const CopyPlan& p, const T* from, T* to, ThreadPool& pool) {
  const int last = p.rank - 1;
  const int64_t n = p.dims[last];
  const int64_t pieces = (n + kGrain - 1) / kGrain;
  const int64_t grain = std::max<int64_t>(1, kGrain / n);
  pool.run_ranges(product_of(p, last) * pieces, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t at = begin; at < end; ++at) {
      const Offsets o = offsets_of(p, last, at / pieces);
      const int64_t first = at % pieces * kGrain;
      copy_run(from + o.from + first * p.from[last], p.from[last], to + o.to + first * p.to[last], p.to[last],
               std::min(kGrain, n - first));
    }
  });
}

// The source is contiguous along dim `across`, the destination along the last: tiles of both, moved to the
// last two places of the plan first.
template <class T>
void copy_tiles(CopyPlan p, int across, const T* from, T* to, ThreadPool& pool) {
  const int last = p.rank - 1;
  for (int i = across; i + 1 < last; ++i) {
    std::swap(p.dims[i], p.dims[i + 1]);
    std::swap(p.from[i], p.from[i + 1]);
    std::swap(p.to[i], p.to[i + 1]);
  }
  const int64_t rows = p.dims[last - 1], columns = p.dims[last];
  const int64_t to_row = p.to[last - 1], from_column = p.from[last];
  const int64_t strips = (rows + kTile - 1) / kTile;
  const int64_t grain = std::max<int64_t>(1, kGrain / (kTile * columns));
  pool.run_ranges(product_of(p, last - 1) * strips, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t at = begin; at < end; ++at) {
      const Offsets o = offsets_of(p, last - 1, at / strips);
      const int64_t row = at % strips * kTile;
      const int64_t high = std::min(kTile, rows - row);
      const T* source = from + o.from + row;
      T* target = to + o.to + row * to_row;
      for (int64_t column = 0; column < columns; column += kTile) {
        const int64_t wide = std::min(kTile, columns - column);
        for (int64_t i = 0; i < high; ++i) {
          for (int64_t j = 0; j < wide; ++j) {
            target[i * to_row + column + j] = source[(column + j) * from_column + i];
          }
        }
      }
    }
  });
}

template <class T>
void copy(const CopyPlan& p, const void* from_bytes, void* to_bytes, ThreadPool& pool) {
  const T* from = static_cast<const T*>(from_bytes);
  T* to = static_cast<T*>(to_bytes);
  const int last = p.rank - 1;
  if (p.to[last] == 1 && p.from[last] > 1) {
    for (int i = 0; i < last; ++i) {
      if (p.from[i] == 1) return copy_tiles(p, i, from, to, pool);
    }
  }
  copy_runs(p, from, to, pool);
}

}  // namespace

void strided_copy(const CopyPlan& plan, const void* from, void* to, ThreadPool& pool) {
  if (product_of(plan, plan.rank) == 0) return;
  switch (plan.element) {
    case 1:
      return copy<uint8_t>(plan, from, to, pool);
    case 2:
      return copy<uint16_t>(plan, from, to, pool);
    case 4:
      return copy<uint32_t>(plan, from, to, pool);
    case 8:
      return copy<uint64_t>(plan, from, to, pool);
    default:
      fail_bug(__FILE__, __LINE__, fmt::format("elements of {} bytes", plan.element));
  }
}

void add_copy_kernel_cpu(KernelTable& table, const CopyKernel& what) {
  table.add(copy_kernel(what, DeviceKind::cpu,
                        [](const CopyPlan& plan, const void* from, void* to, const KernelRun& run) {
                          strided_copy(plan, from, to, *run.pool);
                        }));
}

}  // namespace floe
