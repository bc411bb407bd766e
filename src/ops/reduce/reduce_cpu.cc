// reduce_sum and reduce_max on the CPU. Dims are joined where neighbours are both reduced or both kept, which
// leaves [outer, reduced, inner] nearly always:
//   inner = 1   rows: blocks of kSumBlock elements, their results in order
//   else        columns: blocks of kRowBlock rows added row by row, the blocks' results in order
// Anything else goes element by element. An element's order depends on the number it sums, never on threads.
#include <algorithm>
#include <limits>
#include <vector>

#include "device/cpu/thread_pool.h"
#include "kernel/cpu/sums.h"
#include "kernel/kernel.h"
#include "ops/reduce/reduce_kernel.h"

namespace floe {
namespace {

constexpr int64_t kRowBlock = 256;      // of a bias gradient: enough blocks for all threads
constexpr int64_t kColumnBlock = 1024;  // floats of a running row: 4 KiB in L1
constexpr int64_t kGrain = 1 << 14;     // elements a task reads

float block_of(bool is_sum, const float* x, int64_t n) { return is_sum ? block_sum(x, n) : block_max(x, n); }
void row_to(bool is_sum, float* to, const float* x, int64_t n) {
  is_sum ? add_to(to, x, n) : max_to(to, x, n);
}

// [outer, n] -> [outer]; partials [outer, blocks]
BoundKernel bind_rows(int64_t outer, int64_t n, bool is_sum) {
  const int64_t blocks = (n + kSumBlock - 1) / kSumBlock;
  BoundKernel bound;
  bound.workspace = blocks > 1 ? static_cast<size_t>(outer * blocks) * sizeof(float) : 0;
  bound.run = [=](const KernelRun& run) {
    const float* x = run.inputs[0].as<float>();
    float* y = run.outputs[0].as<float>();
    float* partial = blocks > 1 ? static_cast<float*>(run.workspace) : y;
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, std::min(n, kSumBlock)));
    run.pool->run_ranges(outer * blocks, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t at = begin; at < end; ++at) {
        const int64_t first = at % blocks * kSumBlock;
        partial[at] = block_of(is_sum, x + at / blocks * n + first, std::min(kSumBlock, n - first));
      }
    });
    if (blocks <= 1) return;
    for (int64_t row = 0; row < outer; ++row) {
      float value = partial[row * blocks];
      for (int64_t k = 1; k < blocks; ++k) row_to(is_sum, &value, partial + row * blocks + k, 1);
      y[row] = value;
    }
  };
  return bound;
}

// [outer, n, inner] -> [outer, inner]; partials [outer, blocks, inner]
BoundKernel bind_columns(int64_t outer, int64_t n, int64_t inner, bool is_sum) {
  const int64_t blocks = (n + kRowBlock - 1) / kRowBlock;
  const int64_t strips = (inner + kColumnBlock - 1) / kColumnBlock;
  BoundKernel bound;
  bound.workspace = blocks > 1 ? static_cast<size_t>(outer * blocks * inner) * sizeof(float) : 0;
  bound.run = [=](const KernelRun& run) {
    const float* x = run.inputs[0].as<float>();
    float* y = run.outputs[0].as<float>();
    float* partial = blocks > 1 ? static_cast<float*>(run.workspace) : y;
    const int64_t grain =
        std::max<int64_t>(1, kGrain / (std::min(n, kRowBlock) * std::min(inner, kColumnBlock)));
    run.pool->run_ranges(outer * blocks * strips, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t at = begin; at < end; ++at) {
        const int64_t column = at % strips * kColumnBlock, columns = std::min(kColumnBlock, inner - column);
        const int64_t block = at / strips % blocks, o = at / strips / blocks;
        const float* from = x + (o * n + block * kRowBlock) * inner + column;
        float* to = partial + (o * blocks + block) * inner + column;
        std::copy(from, from + columns, to);
        for (int64_t row = 1; row < std::min(kRowBlock, n - block * kRowBlock); ++row) {
          row_to(is_sum, to, from + row * inner, columns);
        }
      }
    });
    if (blocks <= 1) return;
    run.pool->run_ranges(outer * strips, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t at = begin; at < end; ++at) {
        const int64_t column = at % strips * kColumnBlock, columns = std::min(kColumnBlock, inner - column);
        const int64_t o = at / strips;
        float* to = y + o * inner + column;
        const float* from = partial + o * blocks * inner + column;
        std::copy(from, from + columns, to);
        for (int64_t block = 1; block < blocks; ++block) row_to(is_sum, to, from + block * inner, columns);
      }
    });
  };
  return bound;
}

template <class T>
T combine(bool is_sum, T a, T b) {
  if (!is_sum) return a != a ? a : (a > b ? a : b);
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));  // wraps
  } else {
    return a + b;
  }
}

// Element by element in row-major order of what is reduced.
template <class T>
BoundKernel bind_any(const Joined& joined, bool is_sum) {
  BoundKernel bound;
  bound.run = [joined, is_sum](const KernelRun& run) {
    const size_t rank = joined.dims.size();
    std::vector<int64_t> kept, kept_strides, reduced, reduced_strides;
    int64_t stride = 1;
    for (size_t i = rank; i-- > 0;) {  // innermost first
      (joined.reduced[i] ? reduced : kept).push_back(joined.dims[i]);
      (joined.reduced[i] ? reduced_strides : kept_strides).push_back(stride);
      stride *= joined.dims[i];
    }
    const auto offset = [](int64_t at, const std::vector<int64_t>& dims,
                           const std::vector<int64_t>& strides) {
      int64_t sum = 0;
      for (size_t i = 0; i < dims.size(); ++i) {
        sum += at % dims[i] * strides[i];
        at /= dims[i];
      }
      return sum;
    };
    int64_t n = 1;
    for (const int64_t dim : reduced) n *= dim;
    const T* x = run.inputs[0].as<T>();
    T* y = run.outputs[0].as<T>();
    run.pool->run_ranges(run.outputs[0].size(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, n)),
                         [&](int64_t begin, int64_t end, int) {
                           for (int64_t at = begin; at < end; ++at) {
                             const T* from = x + offset(at, kept, kept_strides);
                             T value = from[0];
                             for (int64_t k = 1; k < n; ++k) {
                               value = combine(is_sum, value, from[offset(k, reduced, reduced_strides)]);
                             }
                             y[at] = value;
                           }
                         });
  };
  return bound;
}

template <class T>
BoundKernel bind_fill(T value) {
  return {0, [value](const KernelRun& run) {
            std::fill_n(run.outputs[0].as<T>(), run.outputs[0].size(), value);
          }};
}

template <class T>
BoundKernel bind(const KernelCall& call, bool is_sum) {
  const View& x = call.inputs[0];
  if (x.size() == 0) {
    constexpr T kLeast = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                              : std::numeric_limits<T>::min();
    return bind_fill<T>(is_sum ? T{0} : kLeast);
  }
  const Joined joined = join_dims(x, call.attrs.integers("axes"));
  if constexpr (std::is_same_v<T, float>) {
    const size_t rank = joined.dims.size();
    const auto is = [&](const std::vector<bool>& pattern) { return joined.reduced == pattern; };
    if (rank == 1 && joined.reduced[0]) return bind_rows(1, joined.dims[0], is_sum);
    if (is({false, true})) return bind_rows(joined.dims[0], joined.dims[1], is_sum);
    if (is({true, false})) return bind_columns(1, joined.dims[0], joined.dims[1], is_sum);
    if (is({false, true, false})) return bind_columns(joined.dims[0], joined.dims[1], joined.dims[2], is_sum);
  }
  return bind_any<T>(joined, is_sum);
}

template <class T>
void add_kernels(KernelTable& table, DType dtype) {
  for (const bool is_sum : {true, false}) {
    const std::string op = is_sum ? "reduce_sum" : "reduce_max";
    table.add({.op = op,
               .name = op + "." + std::string(name_of(dtype)),
               .supports = [dtype](const KernelSignature& s) { return s.inputs[0] == dtype; },
               .bind = [is_sum](const KernelCall& call) { return bind<T>(call, is_sum); }});
  }
}

}  // namespace

void add_reduce_cpu(KernelTable& table) {
  add_kernels<float>(table, DType::f32);
  add_kernels<int32_t>(table, DType::i32);
  add_kernels<int64_t>(table, DType::i64);
}

}  // namespace floe
