// layer_norm and rms_norm on the GPU, forward and backward: one code, since rms_norm is layer_norm without
// the mean and beta. A warp or a block has a row and keeps it, so x and dy are read once; the mean is taken
// off before squares are summed.
//
// Backward: rows are cut into at most kSlices slices by their number alone. A block walks its slice, its
// threads adding up dgamma and dbeta of their own columns; its warps' sums are added in order into the
// slice's partial sum, and a second small kernel adds the slices'.
#pragma once
#include <string>

#include "kernel/cuda/slices.cuh"
#include "kernel/kernel.h"

namespace floe {

constexpr int64_t kSlices = 264;  // two blocks for each of an H100's 132 processors
constexpr int kGradWarps = 8;     // of a backward block

template <class T, class W>
struct NormCall {
  const T* x;
  const W *gamma, *beta;
  T* y;
  int64_t rows, n;
  float eps;
};

template <class T, class W>
struct NormGradCall {
  const T* x;
  const W* gamma;
  const T* dy;
  T* dx;
  float* sums;  // [1 or 2, slices, n]
  int64_t rows, rows_of_slice, slices, n;
  float eps;
};

template <bool kCentred>
constexpr int64_t kNormSums = kCentred ? 2 : 1;  // dgamma and dbeta

struct NormMoments {
  float mean, rstd;
};

template <bool kCentred, class T, class Plan>
__device__ inline NormMoments norm_moments(const Row<T, Plan>& x, int64_t n, float eps) {
  float total[1] = {0};
  NormMoments m{0, 0};
  if constexpr (kCentred) {
    Plan::each(n, [&](int chunk, typename Plan::Index column) {
      float v[Plan::kVector];
      x.get(chunk, column, v);
#pragma unroll
      for (int i = 0; i < Plan::kVector; ++i) total[0] += v[i];
    });
    fold_threads<Plan::kThreads>(total, AddFloats());
    m.mean = total[0] / static_cast<float>(n);
    total[0] = 0;
  }
  Plan::each(n, [&](int chunk, typename Plan::Index column) {
    float v[Plan::kVector];
    x.get(chunk, column, v);
#pragma unroll
    for (int i = 0; i < Plan::kVector; ++i) total[0] = fmaf(v[i] - m.mean, v[i] - m.mean, total[0]);
  });
  fold_threads<Plan::kThreads>(total, AddFloats());
  m.rstd = 1.0f / sqrtf(total[0] / static_cast<float>(n) + eps);
  return m;
}

// y = norm(x) of a row that its threads hold. scales(chunk, column, gamma, beta) gives the weights there;
// store(column, values) takes the result.
template <bool kCentred, class T, class Plan, class Scales, class Store>
__device__ inline void normalize_row(const Row<T, Plan>& x, int64_t n, float eps, Scales scales,
                                     Store store) {
  const NormMoments m = norm_moments<kCentred>(x, n, eps);
  Plan::each(n, [&](int chunk, typename Plan::Index column) {
    float v[Plan::kVector], gamma[Plan::kVector], beta[Plan::kVector];
    x.get(chunk, column, v);
    scales(column, gamma, beta);
#pragma unroll
    for (int i = 0; i < Plan::kVector; ++i) {
      v[i] = (v[i] - m.mean) * m.rstd * gamma[i];
      if constexpr (kCentred) v[i] += beta[i];
    }
    store(column, v);
  });
}

template <bool kCentred, class T, class W, class Plan>
__global__ void __launch_bounds__(Plan::kBlock) norm_kernel(NormCall<T, W> call) {
  let_next_start();
  wait_for_previous();
  const int64_t row = int64_t{blockIdx.x} * Plan::kRows + threadIdx.x / Plan::kThreads;
  if (row >= call.rows) return;  // a whole warp; a block that has one row is never past the end
  Row<T, Plan> x;
  x.load(call.x + row * call.n, call.n);
  T* y = call.y + row * call.n;
  normalize_row<kCentred>(
      x, call.n, call.eps,
      [&](int64_t column, float(&gamma)[Plan::kVector], float(&beta)[Plan::kVector]) {
        load_floats(call.gamma + column, gamma);
        if constexpr (kCentred) load_floats(call.beta + column, beta);
      },
      [&](int64_t column, const float(&v)[Plan::kVector]) { store_floats(y + column, v); });
}

template <bool kCentred, class T, class W>
void start_norm(const NormCall<T, W>& call, void* stream) {
  with_row_plan<T>(call.n, [&]<class Plan>(Plan) {
    launch("norm", norm_kernel<kCentred, T, W, Plan>,
           {.grid = dim3(blocks_for(call.rows, Plan::kRows)), .block = dim3(Plan::kBlock), .overlap = true},
           stream, call);
  });
}

// Adds up the columns' values of a block's warps, warp 0 first, and writes them. `shared` holds
// [kGradWarps, n]; every thread calls.
template <class Plan>
__device__ inline void store_warp_sums(const float (&sums)[Plan::kSlots][Plan::kVector], int64_t n, float* to,
                                       float* shared) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  Plan::each(n, [&](int chunk, int column) {
#pragma unroll
    for (int i = 0; i < Plan::kVector; ++i) shared[warp * n + column + i] = sums[chunk][i];
  });
  __syncthreads();
  for (int column = static_cast<int>(threadIdx.x); column < n; column += kGradWarps * 32) {
    float total = shared[column];
#pragma unroll
    for (int other = 1; other < kGradWarps; ++other) total += shared[other * n + column];
    to[column] = total;
  }
  __syncthreads();  // before `shared` is used again
}

// xhat = (x - mean) * rstd, g = dy * gamma:  dx = rstd * (g - mean(g) - xhat * mean(g * xhat))
template <bool kCentred, class T, class W, class Plan>
__global__ void __launch_bounds__(kGradWarps * 32) norm_grad_kernel(NormGradCall<T, W> call) {
  extern __shared__ float shared[];
  constexpr int kVector = Plan::kVector;
  constexpr int kRows = kGradWarps * 32 / Plan::kThreads;  // that the block has at once
  const int64_t n = call.n;
  const int64_t end = ::min(call.rows, (int64_t{blockIdx.x} + 1) * call.rows_of_slice);
  float* const to_gamma = call.sums + blockIdx.x * n;
  float* const to_beta = to_gamma + call.slices * n;
  const float inverse = 1.0f / static_cast<float>(n);
  float dgamma[Plan::kSlots][kVector], dbeta[Plan::kSlots][kVector];
#pragma unroll
  for (int chunk = 0; chunk < Plan::kSlots; ++chunk) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) dgamma[chunk][i] = dbeta[chunk][i] = 0;
  }
  if constexpr (Plan::kChunks == 0) {  // sums stay in memory, each column its own thread's
    Plan::each(n, [&](int, int64_t column) {
      store_floats(to_gamma + column, dgamma[0]);
      if constexpr (kCentred) store_floats(to_beta + column, dbeta[0]);
    });
  }
  for (int64_t row = blockIdx.x * call.rows_of_slice + threadIdx.x / Plan::kThreads; row < end;
       row += kRows) {
    Row<T, Plan> x, dy;
    x.load(call.x + row * n, n);
    dy.load(call.dy + row * n, n);
    const NormMoments m = norm_moments<kCentred>(x, n, call.eps);
    float means[2] = {0, 0};  // of g * xhat and g
    Plan::each(n, [&](int chunk, typename Plan::Index column) {
      float v[kVector], d[kVector], gamma[kVector], gamma_sum[kVector], beta_sum[kVector];
      x.get(chunk, column, v);
      dy.get(chunk, column, d);
      load_floats(call.gamma + column, gamma);
      if constexpr (Plan::kChunks == 0) {
        load_floats(to_gamma + column, gamma_sum);
        if constexpr (kCentred) load_floats(to_beta + column, beta_sum);
      }
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const float xhat = (v[i] - m.mean) * m.rstd;
        const float g = d[i] * gamma[i];
        means[0] = fmaf(g, xhat, means[0]);
        means[1] += g;
        float& to = Plan::kChunks > 0 ? dgamma[chunk][i] : gamma_sum[i];
        to = fmaf(d[i], xhat, to);
        if constexpr (kCentred) (Plan::kChunks > 0 ? dbeta[chunk][i] : beta_sum[i]) += d[i];
      }
      if constexpr (Plan::kChunks == 0) {
        store_floats(to_gamma + column, gamma_sum);
        if constexpr (kCentred) store_floats(to_beta + column, beta_sum);
      }
    });
    fold_threads<Plan::kThreads>(means, AddFloats());
    const float mean_gx = means[0] * inverse;
    const float mean_g = kCentred ? means[1] * inverse : 0.0f;
    T* dx = call.dx + row * n;
    Plan::each(n, [&](int chunk, typename Plan::Index column) {
      float v[kVector], d[kVector], gamma[kVector];
      x.get(chunk, column, v);
      dy.get(chunk, column, d);
      load_floats(call.gamma + column, gamma);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const float xhat = (v[i] - m.mean) * m.rstd;
        v[i] = m.rstd * (d[i] * gamma[i] - mean_g - xhat * mean_gx);
      }
      store_floats(dx + column, v);
    });
  }
  if constexpr (Plan::kChunks > 0 && Plan::kThreads == 32) {
    store_warp_sums<Plan>(dgamma, n, to_gamma, shared);
    if constexpr (kCentred) store_warp_sums<Plan>(dbeta, n, to_beta, shared);
  } else if constexpr (Plan::kChunks > 0) {
    Plan::each(n, [&](int chunk, int column) {
      store_floats(to_gamma + column, dgamma[chunk]);
      if constexpr (kCentred) store_floats(to_beta + column, dbeta[chunk]);
    });
  }
}

template <bool kCentred, class T, class W>
BoundKernel bind_norm(const KernelCall& call) {
  NormCall<T, W> args{};
  args.n = call.inputs[0].dim(-1);
  args.rows = call.inputs[0].rows();
  args.eps = static_cast<float>(call.attrs.number("eps"));
  return {0, [args](const KernelRun& run) {
            NormCall<T, W> now = args;
            now.x = run.inputs[0].as<T>();
            now.gamma = run.inputs[1].as<W>();
            if (kCentred) now.beta = run.inputs[2].as<W>();
            now.y = run.outputs[0].as<T>();
            start_norm<kCentred>(now, run.stream);
          }};
}

template <bool kCentred, class T, class W>
BoundKernel bind_norm_grad(const KernelCall& call) {
  NormGradCall<T, W> args{};
  args.n = call.inputs[0].dim(-1);
  args.rows = call.inputs[0].rows();
  args.eps = static_cast<float>(call.attrs.number("eps"));
  return with_row_plan<T>(args.n, [&]<class Plan>(Plan) -> BoundKernel {
    constexpr int64_t kRows = kGradWarps * 32 / Plan::kThreads;
    const int64_t least = (args.rows + kSlices - 1) / kSlices;
    args.rows_of_slice = std::max<int64_t>(1, (least + kRows - 1) / kRows) * kRows;
    args.slices = (args.rows + args.rows_of_slice - 1) / args.rows_of_slice;
    const size_t shared = Plan::kThreads == 32 ? static_cast<size_t>(kGradWarps * args.n) * sizeof(float) : 0;
    return {static_cast<size_t>(kNormSums<kCentred> * args.slices * args.n) * sizeof(float),
            [args, shared](const KernelRun& run) {
              NormGradCall<T, W> now = args;
              now.x = run.inputs[0].as<T>();
              now.gamma = run.inputs[1].as<W>();
              now.dy = run.inputs[2].as<T>();
              now.dx = run.outputs[0].as<T>();
              now.sums = static_cast<float*>(run.workspace);
              launch("norm_grad", norm_grad_kernel<kCentred, T, W, Plan>,
                     {.grid = dim3(static_cast<unsigned>(now.slices)),
                      .block = dim3(kGradWarps * 32),
                      .shared_bytes = shared},
                     run.stream, now);
              FoldTargets<W> targets{run.outputs[1].as<W>(), nullptr, 1};
              if (kCentred) targets.second = run.outputs[2].as<W>();
              fold_slices(static_cast<const float*>(now.sums), targets, kNormSums<kCentred>, now.slices,
                          now.n, 0.0f, AddFloats(), StoreFloat<W>(), run.stream);
            }};
  });
}

template <bool kCentred, class T, class W>
void add_norm_pair(KernelTable& table, const std::string& op, const std::string& types, DType x,
                   DType gamma) {
  const auto supports = [x, gamma](const KernelSignature& s) {
    return s.inputs[0] == x && s.inputs[1] == gamma;
  };
  table.add({.op = op,
             .device = DeviceKind::cuda,
             .name = op + "." + types,
             .supports = supports,
             .bind = bind_norm<kCentred, T, W>});
  table.add({.op = op + "_grad",
             .device = DeviceKind::cuda,
             .name = op + "_grad." + types,
             .supports = supports,
             .bind = bind_norm_grad<kCentred, T, W>});
}

// f32, bf16, and bf16 rows with f32 weights.
template <bool kCentred>
void add_norm_kernels_cuda(KernelTable& table, const std::string& op) {
  add_norm_pair<kCentred, float, float>(table, op, "f32", DType::f32, DType::f32);
  add_norm_pair<kCentred, __nv_bfloat16, __nv_bfloat16>(table, op, "bf16", DType::bf16, DType::bf16);
  add_norm_pair<kCentred, __nv_bfloat16, float>(table, op, "bf16.f32", DType::bf16, DType::f32);
}

}  // namespace floe
