// rope on the GPU: a block has a few tokens, makes the sines and cosines of their angles once, in double, for
// all heads, and turns pairs, several neighbours a thread where addresses allow it.
#include <string>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 128;
constexpr int kTokens = 8;  // of a block: the rates are made once for them

struct RopeCall {
  int64_t tokens, length, heads, half;
  int64_t batch_stride, row_stride, head_stride;
  double base;
  bool interleaved, inverse;
};

// kVector: neighbours that are loaded at once. Dynamic shared memory: rates [half] in double, then cosines
// and sines [kTokens, half].
template <int kVector, class T>
__global__ void __launch_bounds__(kThreads)
    rope_kernel(const T* x, const int32_t* positions, T* y, RopeCall call) {
  extern __shared__ double rates[];
  let_next_start();
  wait_for_previous();
  const auto half = static_cast<int>(call.half);
  float* const cosines = reinterpret_cast<float*>(rates + half);
  float* const sines = cosines + kTokens * half;
  const int64_t first = int64_t{blockIdx.x} * kTokens;
  const int tokens = static_cast<int>(::min(int64_t{kTokens}, call.tokens - first));
  const auto thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < half; i += kThreads) {
    rates[i] = ::pow(call.base, -2.0 * i / static_cast<double>(2 * half)) * (call.inverse ? -1 : 1);
  }
  __syncthreads();
  for (int k = thread; k < tokens * half; k += kThreads) {
    double sine, cosine;
    sincos(static_cast<double>(positions[first + k / half]) * rates[k % half], &sine, &cosine);
    cosines[k] = static_cast<float>(cosine);
    sines[k] = static_cast<float>(sine);
  }
  __syncthreads();
  // Items of 2 * kVector elements: kVector pairs. Interleaved ones are neighbours throughout.
  const int items = half / kVector;
  const int64_t all = int64_t{tokens} * call.heads * items;
  for (int64_t at = thread; at < all; at += kThreads) {
    const int pair = static_cast<int>(at % items) * kVector;
    const int64_t head = at / items % call.heads;
    const int token = static_cast<int>(at / items / call.heads);
    const int64_t t = first + token;
    const T* from =
        x + t / call.length * call.batch_stride + t % call.length * call.row_stride + head * call.head_stride;
    T* to = y + (t * call.heads + head) * 2 * half;
    const int low = call.interleaved ? 2 * pair : pair;
    const int high = call.interleaved ? low + kVector : low + half;
    float a[kVector], b[kVector];
    load_floats(from + low, a);
    load_floats(from + high, b);
    const float* c = cosines + token * half + pair;
    const float* s = sines + token * half + pair;
    if (call.interleaved) {
      if constexpr (kVector > 1) {  // pairs lie within each vector
#pragma unroll
        for (int i = 0; i < kVector / 2; ++i) {
          const float u = a[2 * i], v = a[2 * i + 1], w = b[2 * i], z = b[2 * i + 1];
          const int j = kVector / 2 + i;
          a[2 * i] = u * c[i] - v * s[i];
          a[2 * i + 1] = u * s[i] + v * c[i];
          b[2 * i] = w * c[j] - z * s[j];
          b[2 * i + 1] = w * s[j] + z * c[j];
        }
        store_floats(to + low, a);
        store_floats(to + high, b);
        continue;
      }
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float u = a[i], v = b[i];
      a[i] = u * c[i] - v * s[i];
      b[i] = u * s[i] + v * c[i];
    }
    store_floats(to + low, a);
    store_floats(to + high, b);
  }
}

template <class T>
BoundKernel bind(const KernelCall& call) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  const View& x = call.inputs[0];
  const RopeCall args{.tokens = x.dims[0] * x.dims[1],
                      .length = x.dims[1],
                      .heads = x.dims[2],
                      .half = x.dims[3] / 2,
                      .batch_stride = x.strides[0],
                      .row_stride = x.strides[1],
                      .head_stride = x.strides[2],
                      .base = call.attrs.number("base"),
                      .interleaved = call.attrs.flag("interleaved"),
                      .inverse = call.attrs.flag("inverse")};
  const bool whole = args.half % kVector == 0 && args.batch_stride % kVector == 0 &&
                     args.row_stride % kVector == 0 && args.head_stride % kVector == 0;
  const LaunchShape shape{
      .grid = dim3(blocks_for(args.tokens, kTokens)),
      .block = dim3(kThreads),
      .shared_bytes = static_cast<size_t>(args.half) * (sizeof(double) + 2 * kTokens * sizeof(float)),
      .overlap = true};
  return {0, [=](const KernelRun& run) {
            const T* from = run.inputs[0].as<T>();
            const bool aligned = whole && reinterpret_cast<uintptr_t>(from) % 16 == 0;
            launch("rope", aligned ? rope_kernel<kVector, T> : rope_kernel<1, T>, shape, run.stream, from,
                   run.inputs[1].as<int32_t>(), run.outputs[0].as<T>(), args);
          }};
}

template <class T>
void add(KernelTable& table, const std::string& type, DType dtype) {
  table.add({.op = "rope",
             .device = DeviceKind::cuda,
             .name = "rope." + type,
             .supports = [dtype](const KernelSignature& s) { return s.inputs[0] == dtype; },
             .bind = bind<T>,
             .strided_inputs = 0b1});
}

}  // namespace

void add_rope_cuda(KernelTable& table) {
  add<float>(table, "f32", DType::f32);
  add<__nv_bfloat16>(table, "bf16", DType::bf16);
  add<__half>(table, "f16", DType::f16);
}

}  // namespace floe
