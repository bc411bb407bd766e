// AdamW for one tensor, element by element, new state beside or over the old.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "device/cpu/thread_pool.h"
#include "kernel/kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/adamw/adamw_cpu.cc"
#include "kernel/cpu/simd.h"

#ifndef FLOE_OPS_ADAMW_CPU_STEP
#define FLOE_OPS_ADAMW_CPU_STEP
namespace floe {

struct AdamWStep {
  const float *param, *grad, *m, *v;
  float *new_param, *new_m, *new_v;
  int64_t n;
  float scale, beta1, rest1, beta2, rest2;  // rest = 1 - beta
  float decay;                              // 1 - lr * weight_decay
  float rate;                               // lr / (1 - beta1^step)
  float size;                               // 1 / sqrt(1 - beta2^step)
  float eps;
};

}  // namespace floe
#endif

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
void step_at(D d, const AdamWStep& s, int64_t i) {
  const auto set = [&](float x) { return hn::Set(d, x); };
  const auto g = hn::Mul(hn::LoadU(d, s.grad + i), set(s.scale));
  const auto m = hn::Add(hn::Mul(hn::LoadU(d, s.m + i), set(s.beta1)), hn::Mul(g, set(s.rest1)));
  const auto v = hn::Add(hn::Mul(hn::LoadU(d, s.v + i), set(s.beta2)), hn::Mul(hn::Mul(g, g), set(s.rest2)));
  const auto size = hn::Add(hn::Mul(hn::Sqrt(v), set(s.size)), set(s.eps));
  const auto p = hn::Mul(hn::LoadU(d, s.param + i), set(s.decay));
  hn::StoreU(hn::Sub(p, hn::Div(hn::Mul(m, set(s.rate)), size)), d, s.new_param + i);
  hn::StoreU(m, d, s.new_m + i);
  hn::StoreU(v, d, s.new_v + i);
}

void step(const AdamWStep& s) {
  const hn::ScalableTag<float> d;
  constexpr int64_t kLanes = HWY_LANES(float);
  int64_t i = 0;
  for (; i + kLanes <= s.n; i += kLanes) step_at(d, s, i);
  for (; i < s.n; ++i) step_at(hn::CappedTag<float, 1>(), s, i);
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floe {
namespace {

HWY_EXPORT(step);

constexpr int64_t kGrain = 1 << 14;  // seven streams of 64 KiB

BoundKernel bind(const KernelCall& call) {
  const double beta1 = call.attrs.number("beta1"), beta2 = call.attrs.number("beta2");
  const double eps = call.attrs.number("eps"), weight_decay = call.attrs.number("weight_decay");
  return {0, [=](const KernelRun& run) {
            const auto in = [&](size_t k) { return run.inputs[k].as<float>(); };
            const int64_t n = run.inputs[0].size();
            if (*in(7) != 0) {
              constexpr size_t kInputOf[] = {0, 2, 3};
              for (size_t k = 0; k < 3; ++k) {
                if (n > 0 && run.outputs[k].data != in(kInputOf[k])) {
                  std::memcpy(run.outputs[k].data, in(kInputOf[k]), static_cast<size_t>(n) * sizeof(float));
                }
              }
              return;
            }
            const double lr = *in(4);
            const double steps = *run.inputs[5].as<int32_t>();
            AdamWStep all{.param = in(0), .grad = in(1), .m = in(2), .v = in(3)};
            all.new_param = run.outputs[0].as<float>();
            all.new_m = run.outputs[1].as<float>();
            all.new_v = run.outputs[2].as<float>();
            all.scale = *in(6);
            all.beta1 = static_cast<float>(beta1);
            all.rest1 = static_cast<float>(1 - beta1);
            all.beta2 = static_cast<float>(beta2);
            all.rest2 = static_cast<float>(1 - beta2);
            all.decay = static_cast<float>(1 - lr * weight_decay);
            all.rate = static_cast<float>(lr / (1 - std::pow(beta1, steps)));
            all.size = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, steps)));
            all.eps = static_cast<float>(eps);
            run.pool->run_ranges(n, kGrain, [&](int64_t begin, int64_t end, int) {
              AdamWStep s = all;
              for (const float** at : {&s.param, &s.grad, &s.m, &s.v}) *at += begin;
              for (float** at : {&s.new_param, &s.new_m, &s.new_v}) *at += begin;
              s.n = end - begin;
              HWY_DYNAMIC_DISPATCH(step)(s);
            });
          }};
}

}  // namespace

void add_adamw_cpu(KernelTable& table) {
  table.add(
      {.op = "adamw",
       .name = "adamw.f32",
       .supports =
           [](const KernelSignature& s) { return s.inputs[0] == DType::f32 && s.inputs[1] == DType::f32; },
       .bind = bind,
       .in_place = {{0, 0}, {1, 2}, {2, 3}}});
}

}  // namespace floe
#endif
