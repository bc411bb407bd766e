#include "kernel/cuda/small_gemm.h"

#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"

namespace floe {
namespace {

template <class T, class To, int kThreads>
__global__ void __launch_bounds__(kThreads) elements_kernel(SmallGemm p, const T* a, const T* b, To* c) {
  const int64_t batch = blockIdx.x / (p.m * p.n);
  const int64_t row = blockIdx.x / p.n % p.m, column = blockIdx.x % p.n;
  a += batch * p.m * p.k + (p.transpose_a ? row : row * p.k);
  b += batch * p.k * p.n + (p.transpose_b ? column * p.k : column);
  const int64_t a_step = p.transpose_a ? p.m : 1, b_step = p.transpose_b ? 1 : p.n;
  float sum[1] = {};
#pragma unroll 4
  for (int64_t k = threadIdx.x; k < p.k; k += kThreads) {
    sum[0] = fmaf(to_float(a[k * a_step]), to_float(b[k * b_step]), sum[0]);
  }
  fold_threads<kThreads>(sum, AddFloats());
  if (threadIdx.x != 0) return;
  To* to = c + blockIdx.x;
  *to = from_float<To>(p.accumulate ? to_float(*to) + sum[0] : sum[0]);
}

template <class T, class To>
void queue(const SmallGemm& p, const void* a, const void* b, void* c, void* stream) {
  const dim3 blocks(static_cast<unsigned>(p.batch * p.m * p.n));
  const auto start = [&](auto kernel, unsigned threads) {
    launch("small_gemm", kernel, {blocks, dim3(threads)}, stream, p, static_cast<const T*>(a),
           static_cast<const T*>(b), static_cast<To*>(c));
  };
  p.k <= 256 ? start(elements_kernel<T, To, 32>, 32) : start(elements_kernel<T, To, 256>, 256);
}

}  // namespace

void SmallGemm::run(const void* a, const void* b, void* c, void* stream) const {
  if (in == DType::f32) {
    queue<float, float>(*this, a, b, c, stream);
  } else if (out == DType::f32) {
    queue<__nv_bfloat16, float>(*this, a, b, c, stream);
  } else {
    queue<__nv_bfloat16, __nv_bfloat16>(*this, a, b, c, stream);
  }
}

}  // namespace floe
