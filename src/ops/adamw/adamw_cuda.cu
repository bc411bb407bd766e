// AdamW for all parameters in one pass, new state beside or over the old: 28 bytes an element with an f32
// gradient, 30 with a copy. One launch takes up to kTensors of them, their places in the launch's parameters,
// so that nothing is copied to the device; blocks take chunks of the tensors in turn. Every operation in the
// CPU kernel's order, so the states of both devices agree but for the two powers.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"
#include "ops/adamw/adamw_kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1056;  // eight for each of an H100's processors: the powers are made seldom
constexpr int kVector = 4;
constexpr int64_t kChunk = 4096;  // elements
constexpr int kTensors = 200;

struct AdamWTensor {
  const float *param, *m, *v;
  const void* grad;
  float *new_param, *new_m, *new_v;
  __nv_bfloat16* copy;  // null: none
  int64_t n;
  int first;    // chunk of the launch
  bool narrow;  // grad is bf16
  bool decays;
  bool in_vectors;  // all of them begin at whole vectors
};

struct AdamWCall {
  const float *lr, *scale, *skip;
  const int32_t* step;
  double beta1, beta2, weight_decay;
  float eps;
  int chunks;
  int count;
  AdamWTensor tensors[kTensors];
};
static_assert(sizeof(AdamWCall) <= 32764, "what a launch takes from CUDA 12.1 on");

struct StepFactors {
  float scale, beta1, rest1, beta2, rest2;  // rest = 1 - beta
  float decay;                              // 1 - lr * weight_decay
  float rate;                               // lr / (1 - beta1^step)
  float size;                               // 1 / sqrt(1 - beta2^step)
  float eps;
};

struct Element {
  float param, m, v;
};

__device__ inline Element step_at(const StepFactors& s, const Element& old, float gradient) {
  const float g = gradient * s.scale;
  const float m = old.m * s.beta1 + g * s.rest1;
  const float v = old.v * s.beta2 + g * g * s.rest2;
  const float size = sqrtf(v) * s.size + s.eps;
  return {old.param * s.decay - m * s.rate / size, m, v};
}

// By the first warp: even lanes take the power of beta1, odd ones of beta2.
__device__ inline StepFactors factors_of(const AdamWCall& call) {
  const double power = ::pow(threadIdx.x % 2 == 0 ? call.beta1 : call.beta2, static_cast<double>(*call.step));
  const double power1 = __shfl_sync(0xffffffffu, power, 0), power2 = __shfl_sync(0xffffffffu, power, 1);
  const double lr = *call.lr;
  return {.scale = *call.scale,
          .beta1 = static_cast<float>(call.beta1),
          .rest1 = static_cast<float>(1 - call.beta1),
          .beta2 = static_cast<float>(call.beta2),
          .rest2 = static_cast<float>(1 - call.beta2),
          .decay = static_cast<float>(1 - lr * call.weight_decay),
          .rate = static_cast<float>(lr / (1 - power1)),
          .size = static_cast<float>(1 / ::sqrt(1 - power2)),
          .eps = call.eps};
}

template <class G, int kCount>
__device__ inline void step_from(const AdamWTensor& t, const StepFactors& s, bool skip, int64_t i) {
  float param[kCount], m[kCount], v[kCount], g[kCount];
  load_floats(t.param + i, param);
  load_floats(t.m + i, m);
  load_floats(t.v + i, v);
  load_floats(static_cast<const G*>(t.grad) + i, g);
  if (!skip) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const Element next = step_at(s, {param[k], m[k], v[k]}, g[k]);
      param[k] = next.param;
      m[k] = next.m;
      v[k] = next.v;
    }
  }
  store_floats(t.new_param + i, param);
  store_floats(t.new_m + i, m);
  store_floats(t.new_v + i, v);
  if (t.copy != nullptr) store_floats(t.copy + i, param);
}

template <class G>
__device__ inline void step_over(const AdamWTensor& t, const StepFactors& s, bool skip, int64_t begin,
                                 int64_t end) {
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t whole = t.in_vectors ? begin + (end - begin) / kVector * kVector : begin;
  for (int64_t i = begin + thread * kVector; i < whole; i += kThreads * kVector)
    step_from<G, kVector>(t, s, skip, i);
#pragma unroll 1
  for (int64_t i = whole + thread; i < end; i += kThreads) step_from<G, 1>(t, s, skip, i);
}

// The last tensor that begins at or before a chunk.
__device__ inline int tensor_of(const AdamWCall& call, int chunk) {
  int at = 0;
  for (int high = call.count - 1; at < high;) {
    const int middle = (at + high + 1) / 2;
    if (call.tensors[middle].first <= chunk) {
      at = middle;
    } else {
      high = middle - 1;
    }
  }
  return at;
}

__global__ void __launch_bounds__(kThreads) adamw_kernel(const __grid_constant__ AdamWCall call) {
  __shared__ StepFactors shared;
  const bool skip = *call.skip != 0;
  if (threadIdx.x < 32) {
    const StepFactors s = factors_of(call);
    if (threadIdx.x == 0) shared = s;
  }
  __syncthreads();
  const StepFactors all = shared;
  for (int chunk = static_cast<int>(blockIdx.x); chunk < call.chunks; chunk += static_cast<int>(gridDim.x)) {
    const AdamWTensor t = call.tensors[tensor_of(call, chunk)];
    StepFactors s = all;
    if (!t.decays) s.decay = 1;
    const int64_t begin = int64_t{chunk - t.first} * kChunk, end = ::min(t.n, begin + kChunk);
    if (t.narrow) {
      step_over<__nv_bfloat16>(t, s, skip, begin, end);
    } else {
      step_over<float>(t, s, skip, begin, end);
    }
  }
}

bool aligned(const void* at, size_t bytes) { return reinterpret_cast<uintptr_t>(at) % bytes == 0; }

AdamWTensor tensor_at(const KernelRun& run, const AdamWOperands::Parameter& p, int first) {
  const View *in = run.inputs.data() + p.input, *out = run.outputs.data() + p.output;
  AdamWTensor t{.param = in[0].as<float>(), .m = in[2].as<float>(), .v = in[3].as<float>()};
  t.grad = in[1].data;
  t.new_param = out[0].as<float>();
  t.new_m = out[1].as<float>();
  t.new_v = out[2].as<float>();
  t.copy = p.copy == 0 ? nullptr : run.outputs[p.copy].as<__nv_bfloat16>();
  t.n = in[0].size();
  t.first = first;
  t.narrow = in[1].dtype == DType::bf16;
  t.decays = p.decays;
  // A gradient may be a part of a larger tensor.
  t.in_vectors = aligned(t.grad, t.narrow ? 8 : 16) && aligned(t.copy, 8);
  for (const float* at : {t.param, t.m, t.v, static_cast<const float*>(t.new_param),
                          static_cast<const float*>(t.new_m), static_cast<const float*>(t.new_v)}) {
    t.in_vectors = t.in_vectors && aligned(at, 16);
  }
  return t;
}

BoundKernel bind(const KernelCall& call) {
  AdamWCall args{};
  args.beta1 = call.attrs.number("beta1");
  args.beta2 = call.attrs.number("beta2");
  args.weight_decay = call.attrs.number("weight_decay");
  args.eps = static_cast<float>(call.attrs.number("eps"));
  const AdamWOperands operands = adamw_operands(call);
  return {0, [args, operands](const KernelRun& run) {
            AdamWCall now = args;
            const View* scalars = run.inputs.data() + operands.scalars;
            now.lr = scalars[0].as<float>();
            now.step = scalars[1].as<int32_t>();
            now.scale = scalars[2].as<float>();
            now.skip = scalars[3].as<float>();
            const auto start = [&] {
              const int64_t blocks = std::min<int64_t>(now.chunks, kMostBlocks);
              launch("adamw", adamw_kernel,
                     {.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kThreads)}, run.stream, now);
              now.count = now.chunks = 0;
            };
            for (const AdamWOperands::Parameter& p : operands.parameters) {
              const int64_t n = run.inputs[p.input].size();
              if (n == 0) continue;
              now.tensors[now.count++] = tensor_at(run, p, now.chunks);
              now.chunks += static_cast<int>(blocks_for(n, kChunk));
              if (now.count == kTensors) start();
            }
            start();
          }};
}

}  // namespace

void add_adamw_cuda(KernelTable& table) {
  table.add({.op = "adamw",
             .device = DeviceKind::cuda,
             .name = "adamw.f32",
             .supports =
                 [](const KernelSignature& s) {
                   return supports_adamw(
                       s, [](DType grad) { return grad == DType::f32 || grad == DType::bf16; });
                 },
             .bind = bind});
}

}  // namespace floe
