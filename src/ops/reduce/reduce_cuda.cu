// reduce_sum and reduce_max on the GPU. Dims are joined where neighbours are both reduced or both kept, which
// leaves [outer, reduced, inner] nearly always:
//   inner = 1   rows: a thread, a warp or a block each; long ones in segments whose results are one more row
//   else        columns: slices of rows, 32 lanes along the columns; then the slices (kernel/cuda/slices.cuh)
// Anything else goes by a warp an element. How a sum is cut depends on the number it sums (and on the inner
// dim and the type), never on how many there are.
#include <limits>
#include <string>
#include <vector>

#include "kernel/cuda/slices.cuh"
#include "kernel/kernel.h"
#include "ops/reduce/reduce_kernel.h"

namespace floe {
namespace {

constexpr int64_t kSegment = 1 << 14;  // of a long row: 64 elements a thread
constexpr int64_t kLeastSlice = 64;    // rows; a slice's f32 result is 1/16 of the bf16 bytes it stands for
constexpr int64_t kMostSlices = 256;
constexpr int kColumnWarps = 8;
constexpr int kRowsAhead = 8;  // of a warp, in flight

struct AddIntegers {  // wraps
  template <class T>
  __device__ T operator()(T a, T b) const {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  }
};
struct MaxIntegers {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

template <class T>
using SumOf = std::conditional_t<std::is_integral_v<T>, T, float>;  // what a T is summed in

template <class T, int kVector>
__device__ inline void widen(const Packed<T, kVector>& packed, SumOf<T> (&to)[kVector]) {
  if constexpr (std::is_integral_v<T>) {
    static_assert(kVector == 1, "integers are read one by one");
    to[0] = *reinterpret_cast<const T*>(packed.words);
  } else {
    packed.unpack(to);
  }
}
template <int kVector, class T>
__device__ inline void load_values(const T* from, SumOf<T> (&to)[kVector]) {
  Packed<T, kVector> packed;
  packed.load(from);
  widen(packed, to);
}
template <class To>
struct StoreAs {
  template <class A>
  __device__ To operator()(A value) const {
    if constexpr (std::is_same_v<A, To>) {
      return value;
    } else {
      return from_float<To>(value);
    }
  }
};

// ---- rows: [outer, n] -> [outer, segments] ----

template <int kVector, int kThreads, class T, class To, class Fold>
__global__ void __launch_bounds__(256)
    rows_kernel(const T* x, To* to, int64_t outer, int64_t n, int64_t segments, SumOf<T> nothing, Fold fold) {
  const int64_t at = int64_t{blockIdx.x} * (256 / kThreads) + threadIdx.x / kThreads;
  if (at >= outer * segments) return;  // whole warps, or threads that stand alone
  const int64_t begin = at % segments * kSegment;
  const int64_t end = segments == 1 ? n : ::min(n, begin + kSegment);
  const T* row = x + at / segments * n;
  SumOf<T> chains[kVector];
#pragma unroll
  for (int i = 0; i < kVector; ++i) chains[i] = nothing;
#pragma unroll 4
  for (int64_t column = begin + threadIdx.x % kThreads * kVector; column < end;
       column += kThreads * kVector) {
    SumOf<T> values[kVector];
    load_values<kVector>(row + column, values);
#pragma unroll
    for (int i = 0; i < kVector; ++i) chains[i] = fold(chains[i], values[i]);
  }
  SumOf<T> result[1] = {chains[0]};
#pragma unroll
  for (int i = 1; i < kVector; ++i) result[0] = fold(result[0], chains[i]);
  if constexpr (kThreads > 1) fold_threads<kThreads>(result, fold);
  if (threadIdx.x % kThreads == 0) to[at] = StoreAs<To>()(result[0]);
}

template <int kVector, class T, class To, class Fold>
void queue_rows(const T* x, To* to, int64_t outer, int64_t n, int64_t segments, SumOf<T> nothing, Fold fold,
                void* stream) {
  const auto with_threads = [&]<int kThreads>(std::integral_constant<int, kThreads>) {
    launch("reduce (rows)", rows_kernel<kVector, kThreads, T, To, Fold>,
           {.grid = dim3(blocks_for(outer * segments, 256 / kThreads)), .block = dim3(256)}, stream, x, to,
           outer, n, segments, nothing, fold);
  };
  if (n <= 8) {
    with_threads(std::integral_constant<int, 1>());
  } else if (n <= 1024) {
    with_threads(std::integral_constant<int, 32>());
  } else {
    with_threads(std::integral_constant<int, 256>());
  }
}

template <int kVector, class T, class Fold>
BoundKernel bind_rows(int64_t outer, int64_t n, SumOf<T> nothing, Fold fold) {
  using A = SumOf<T>;
  const int64_t segments = n > kSegment ? (n + kSegment - 1) / kSegment : 1;
  return {segments > 1 ? static_cast<size_t>(outer * segments) * sizeof(A) : 0, [=](const KernelRun& run) {
            const T* x = run.inputs[0].as<T>();
            T* y = run.outputs[0].as<T>();
            if (segments == 1) return queue_rows<kVector>(x, y, outer, n, 1, nothing, fold, run.stream);
            A* partial = static_cast<A*>(run.workspace);
            queue_rows<kVector>(x, partial, outer, n, segments, nothing, fold, run.stream);
            queue_rows<1>(partial, y, outer, segments, 1, nothing, fold, run.stream);
          }};
}

// ---- columns: [outer, n, inner] -> [outer, slices, inner] ----

struct ColumnsCall {
  int64_t n, inner, rows_of_slice, slices, strips;
};

template <int kVector, class T, class To, class Fold>
__global__ void __launch_bounds__(kColumnWarps * 32)
    columns_kernel(const T* x, To* to, ColumnsCall call, SumOf<T> nothing, Fold fold) {
  constexpr int kColumns = 32 * kVector;
  __shared__ SumOf<T> of_warps[kColumnWarps][kColumns];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t strip = blockIdx.x % call.strips, slice = blockIdx.x / call.strips % call.slices;
  const int64_t outer = blockIdx.x / call.strips / call.slices;
  const int64_t column = strip * kColumns + lane * kVector;
  const int64_t end = ::min(call.n, (slice + 1) * call.rows_of_slice);
  SumOf<T> sums[kVector];
#pragma unroll
  for (int i = 0; i < kVector; ++i) sums[i] = nothing;
  if (column < call.inner) {
    const T* from = x + outer * call.n * call.inner + column;
    for (int64_t first = slice * call.rows_of_slice + warp; first < end; first += kColumnWarps * kRowsAhead) {
      Packed<T, kVector> rows[kRowsAhead];
#pragma unroll
      for (int k = 0; k < kRowsAhead; ++k) {
        const int64_t row = first + k * kColumnWarps;
        if (row < end) rows[k].load(from + row * call.inner);
      }
#pragma unroll
      for (int k = 0; k < kRowsAhead; ++k) {
        if (first + k * kColumnWarps >= end) break;
        SumOf<T> values[kVector];
        widen(rows[k], values);
#pragma unroll
        for (int i = 0; i < kVector; ++i) sums[i] = fold(sums[i], values[i]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kVector; ++i) of_warps[warp][i * 32 + lane] = sums[i];
  __syncthreads();
  const int mine = static_cast<int>(threadIdx.x);
  const int64_t place = strip * kColumns + mine;
  if (mine >= kColumns || place >= call.inner) return;
  const int slot = mine % kVector * 32 + mine / kVector;
  SumOf<T> total = of_warps[0][slot];
#pragma unroll
  for (int other = 1; other < kColumnWarps; ++other) total = fold(total, of_warps[other][slot]);
  to[(outer * call.slices + slice) * call.inner + place] = StoreAs<To>()(total);
}

template <int kVector, class T, class Fold>
BoundKernel bind_columns(int64_t outer, int64_t n, int64_t inner, SumOf<T> nothing, Fold fold) {
  using A = SumOf<T>;
  static_assert(32 * kVector <= kColumnWarps * 32, "a thread writes one column");
  ColumnsCall call{.n = n, .inner = inner};
  call.rows_of_slice = std::max(kLeastSlice, (n + kMostSlices - 1) / kMostSlices);
  call.slices = (n + call.rows_of_slice - 1) / call.rows_of_slice;
  call.strips = (inner + 32 * kVector - 1) / (32 * kVector);
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(outer * call.slices * call.strips)),
                          .block = dim3(kColumnWarps * 32)};
  const size_t partial_bytes = static_cast<size_t>(outer * call.slices * inner) * sizeof(A);
  return {call.slices > 1 ? partial_bytes : 0, [=](const KernelRun& run) {
            const T* x = run.inputs[0].as<T>();
            T* y = run.outputs[0].as<T>();
            if (call.slices == 1) {
              launch("reduce (columns)", columns_kernel<kVector, T, T, Fold>, shape, run.stream, x, y, call,
                     nothing, fold);
              return;
            }
            A* partial = static_cast<A*>(run.workspace);
            launch("reduce (columns)", columns_kernel<kVector, T, A, Fold>, shape, run.stream, x, partial,
                   call, nothing, fold);
            fold_slices(static_cast<const A*>(partial), FoldTargets<T>{y, nullptr, outer}, outer, call.slices,
                        inner, nothing, fold, StoreAs<T>(), run.stream);
          }};
}

// ---- any axes ----

struct Side {  // dims that are kept, or reduced, innermost first
  int rank = 0;
  int64_t dims[kMaxRank], strides[kMaxRank];

  void add(int64_t dim, int64_t stride) {
    dims[rank] = dim;
    strides[rank] = stride;
    ++rank;
  }
  __device__ int64_t offset(int64_t at) const {
    int64_t sum = 0;
    for (int i = 0; i < rank; ++i) {
      sum += at % dims[i] * strides[i];
      at /= dims[i];
    }
    return sum;
  }
};

template <class T, class Fold>
__global__ void __launch_bounds__(256) any_kernel(const T* x, T* y, Side kept, Side reduced, int64_t outputs,
                                                  int64_t n, SumOf<T> nothing, Fold fold) {
  const int64_t at = int64_t{blockIdx.x} * 8 + threadIdx.x / 32;
  if (at >= outputs) return;
  const T* from = x + kept.offset(at);
  SumOf<T> result[1] = {nothing};
  for (int64_t k = threadIdx.x % 32; k < n; k += 32) {
    SumOf<T> value[1];
    load_values<1>(from + reduced.offset(k), value);
    result[0] = fold(result[0], value[0]);
  }
  fold_threads<32>(result, fold);
  if (threadIdx.x % 32 == 0) y[at] = StoreAs<T>()(result[0]);
}

template <class T, class Fold>
BoundKernel bind_any(const Joined& joined, SumOf<T> nothing, Fold fold) {
  Side kept, reduced;
  int64_t stride = 1, n = 1, outputs = 1;
  for (size_t i = joined.dims.size(); i-- > 0;) {
    (joined.reduced[i] ? reduced : kept).add(joined.dims[i], stride);
    (joined.reduced[i] ? n : outputs) *= joined.dims[i];
    stride *= joined.dims[i];
  }
  return {0, [=](const KernelRun& run) {
            launch("reduce (any axes)", any_kernel<T, Fold>,
                   {.grid = dim3(blocks_for(outputs, 8)), .block = dim3(256)}, run.stream,
                   run.inputs[0].as<T>(), run.outputs[0].as<T>(), kept, reduced, outputs, n, nothing, fold);
          }};
}

template <class T, class Fold>
BoundKernel bind(const KernelCall& call, SumOf<T> nothing, Fold fold) {
  constexpr int kVector = std::is_integral_v<T> ? 1 : 16 / static_cast<int>(sizeof(T));
  const View& x = call.inputs[0];
  if (x.size() == 0) return bind_rows<1, T>(call.outputs[0].size(), 0, nothing, fold);
  const Joined joined = join_dims(x, call.attrs.integers("axes"));
  const auto is = [&](const std::vector<bool>& pattern) { return joined.reduced == pattern; };
  const std::vector<int64_t>& dims = joined.dims;
  if (is({true}) || is({false, true})) {
    const int64_t outer = dims.size() == 1 ? 1 : dims[0], n = dims.back();
    return n % kVector == 0 && n > 8 ? bind_rows<kVector, T>(outer, n, nothing, fold)
                                     : bind_rows<1, T>(outer, n, nothing, fold);
  }
  if (is({true, false}) || is({false, true, false})) {
    const int64_t outer = dims.size() == 2 ? 1 : dims[0], n = dims[dims.size() - 2], inner = dims.back();
    return inner % kVector == 0 ? bind_columns<kVector, T>(outer, n, inner, nothing, fold)
                                : bind_columns<1, T>(outer, n, inner, nothing, fold);
  }
  return bind_any<T>(joined, nothing, fold);
}

template <class T>
void add_kernels(KernelTable& table, const std::string& type, DType dtype) {
  using A = SumOf<T>;
  using Sum = std::conditional_t<std::is_integral_v<T>, AddIntegers, AddFloats>;
  using Max = std::conditional_t<std::is_integral_v<T>, MaxIntegers, MaxFloats>;
  constexpr A kLeast = std::numeric_limits<A>::has_infinity ? -std::numeric_limits<A>::infinity()
                                                            : std::numeric_limits<A>::min();
  const auto supports = [dtype](const KernelSignature& s) { return s.inputs[0] == dtype; };
  table.add({.op = "reduce_sum",
             .device = DeviceKind::cuda,
             .name = "reduce_sum." + type,
             .supports = supports,
             .bind = [](const KernelCall& call) { return bind<T>(call, A{0}, Sum()); }});
  table.add({.op = "reduce_max",
             .device = DeviceKind::cuda,
             .name = "reduce_max." + type,
             .supports = supports,
             .bind = [](const KernelCall& call) { return bind<T>(call, kLeast, Max()); }});
}

}  // namespace

void add_reduce_cuda(KernelTable& table) {
  add_kernels<float>(table, "f32", DType::f32);
  add_kernels<__nv_bfloat16>(table, "bf16", DType::bf16);
  add_kernels<__half>(table, "f16", DType::f16);
  add_kernels<int32_t>(table, "i32", DType::i32);
  add_kernels<int64_t>(table, "i64", DType::i64);
}

}  // namespace floe
