// AdamW for one tensor in one pass, new state beside or over the old: 28 bytes an element with an f32
// gradient. Every operation in the CPU kernel's order, so the states of both devices agree but for the two
// powers.
#include "device/cuda/launch.cuh"
#include "kernel/cuda/row.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1056;  // eight for each of an H100's processors: the powers are made seldom
constexpr int kVector = 4;

struct AdamWCall {
  const float *param, *m, *v;
  float *new_param, *new_m, *new_v;
  int64_t n;
  const float *lr, *scale, *skip;
  const int32_t* step;
  double beta1, beta2, weight_decay;
  float eps;
};

struct StepFactors {
  float scale, beta1, rest1, beta2, rest2;  // rest = 1 - beta
  float decay;                              // 1 - lr * weight_decay
  float rate;                               // lr / (1 - beta1^step)
  float size;                               // 1 / sqrt(1 - beta2^step)
};

struct Element {
  float param, m, v;
};

__device__ inline Element step_at(const StepFactors& s, float eps, const Element& old, float gradient) {
  const float g = gradient * s.scale;
  const float m = old.m * s.beta1 + g * s.rest1;
  const float v = old.v * s.beta2 + g * g * s.rest2;
  const float size = sqrtf(v) * s.size + eps;
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
          .size = static_cast<float>(1 / ::sqrt(1 - power2))};
}

template <class G, int kCount>
__device__ inline void step_from(const AdamWCall& call, const G* grad, const StepFactors& s, bool skip,
                                 int64_t i) {
  float param[kCount], m[kCount], v[kCount], g[kCount];
  load_floats(call.param + i, param);
  load_floats(call.m + i, m);
  load_floats(call.v + i, v);
  load_floats(grad + i, g);
  if (!skip) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const Element next = step_at(s, call.eps, {param[k], m[k], v[k]}, g[k]);
      param[k] = next.param;
      m[k] = next.m;
      v[k] = next.v;
    }
  }
  store_floats(call.new_param + i, param);
  store_floats(call.new_m + i, m);
  store_floats(call.new_v + i, v);
}

template <class G>
__global__ void __launch_bounds__(kThreads) adamw_kernel(AdamWCall call, const G* grad) {
  __shared__ StepFactors shared;
  const bool skip = *call.skip != 0;
  if (skip && call.new_param == call.param && call.new_m == call.m && call.new_v == call.v) return;
  if (threadIdx.x < 32) {
    const StepFactors s = factors_of(call);
    if (threadIdx.x == 0) shared = s;
  }
  __syncthreads();
  const StepFactors s = shared;
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t threads = int64_t{gridDim.x} * kThreads;
  const int64_t vectors = call.n / kVector;
  for (int64_t i = thread; i < vectors; i += threads) {
    step_from<G, kVector>(call, grad, s, skip, i * kVector);
  }
  const int64_t rest = vectors * kVector + thread;
  if (rest < call.n) step_from<G, 1>(call, grad, s, skip, rest);
}

template <class G>
BoundKernel bind(const KernelCall& call) {
  AdamWCall args{};
  args.n = call.inputs[0].size();
  args.beta1 = call.attrs.number("beta1");
  args.beta2 = call.attrs.number("beta2");
  args.weight_decay = call.attrs.number("weight_decay");
  args.eps = static_cast<float>(call.attrs.number("eps"));
  return {0, [args](const KernelRun& run) {
            AdamWCall now = args;
            now.param = run.inputs[0].as<float>();
            now.m = run.inputs[2].as<float>();
            now.v = run.inputs[3].as<float>();
            now.lr = run.inputs[4].as<float>();
            now.step = run.inputs[5].as<int32_t>();
            now.scale = run.inputs[6].as<float>();
            now.skip = run.inputs[7].as<float>();
            now.new_param = run.outputs[0].as<float>();
            now.new_m = run.outputs[1].as<float>();
            now.new_v = run.outputs[2].as<float>();
            const auto needed = static_cast<int64_t>(blocks_for(now.n, kThreads * kVector));
            launch(
                "adamw", adamw_kernel<G>,
                {.grid = dim3(static_cast<unsigned>(std::min(needed, kMostBlocks))), .block = dim3(kThreads)},
                run.stream, now, run.inputs[1].as<G>());
          }};
}

template <class G>
void add(KernelTable& table, const char* name, DType grad) {
  table.add({.op = "adamw",
             .device = DeviceKind::cuda,
             .name = name,
             .supports =
                 [grad](const KernelSignature& s) {
                   return s.inputs[0] == DType::f32 && s.inputs[1] == grad && s.inputs[2] == DType::f32 &&
                          s.inputs[3] == DType::f32;
                 },
             .bind = bind<G>,
             .in_place = {{0, 0}, {1, 2}, {2, 3}}});
}

}  // namespace

void add_adamw_cuda(KernelTable& table) {
  add<float>(table, "adamw.f32", DType::f32);
  add<__nv_bfloat16>(table, "adamw.bf16_grad", DType::bf16);
}

}  // namespace floe
