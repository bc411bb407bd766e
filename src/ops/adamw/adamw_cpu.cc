// AdamW element by element, new state beside or over the old. Blocks of all parameters are one list of work.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "device/cpu/thread_pool.h"
#include "ops/adamw/adamw_kernel.h"
#include "tensor/dtype.h"

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
  float decay;                              // 1 - lr * weight_decay, or 1
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

constexpr int64_t kBlock = 1 << 14;  // seven streams of 64 KiB

// What is the same for all parameters of one run.
AdamWStep factors_of(const Attrs& attrs, double lr, double steps, float scale) {
  const double beta1 = attrs.number("beta1"), beta2 = attrs.number("beta2");
  AdamWStep s{};
  s.scale = scale;
  s.beta1 = static_cast<float>(beta1);
  s.rest1 = static_cast<float>(1 - beta1);
  s.beta2 = static_cast<float>(beta2);
  s.rest2 = static_cast<float>(1 - beta2);
  s.decay = static_cast<float>(1 - lr * attrs.number("weight_decay"));
  s.rate = static_cast<float>(lr / (1 - std::pow(beta1, steps)));
  s.size = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, steps)));
  s.eps = static_cast<float>(attrs.number("eps"));
  return s;
}

void keep(const float* old, float* now, int64_t n) {
  if (now != old) std::memcpy(now, old, static_cast<size_t>(n) * sizeof(float));
}

struct Block {
  size_t parameter;
  int64_t begin, n;
};

BoundKernel bind(const KernelCall& call) {
  const AdamWOperands operands = adamw_operands(call);
  std::vector<Block> blocks;
  for (size_t k = 0; k < operands.parameters.size(); ++k) {
    const int64_t n = call.inputs[operands.parameters[k].input].size();
    for (int64_t begin = 0; begin < n; begin += kBlock)
      blocks.push_back({k, begin, std::min(kBlock, n - begin)});
  }
  return {0, [operands, blocks, attrs = call.attrs](const KernelRun& run) {
            const View* scalars = run.inputs.data() + operands.scalars;
            const bool skip = *scalars[3].as<float>() != 0;
            const AdamWStep all = factors_of(attrs, static_cast<double>(*scalars[0].as<float>()),
                                             *scalars[1].as<int32_t>(), *scalars[2].as<float>());
            run.pool->run(static_cast<int64_t>(blocks.size()), [&](int64_t i, int) {
              const Block& block = blocks[static_cast<size_t>(i)];
              const AdamWOperands::Parameter& p = operands.parameters[block.parameter];
              const auto in = [&](size_t k) { return run.inputs[p.input + k].as<float>() + block.begin; };
              const auto out = [&](size_t k) { return run.outputs[p.output + k].as<float>() + block.begin; };
              AdamWStep s = all;
              s.param = in(0), s.grad = in(1), s.m = in(2), s.v = in(3);
              s.new_param = out(0), s.new_m = out(1), s.new_v = out(2);
              s.n = block.n;
              if (!p.decays) s.decay = 1;
              if (skip) {
                keep(s.param, s.new_param, s.n);
                keep(s.m, s.new_m, s.n);
                keep(s.v, s.new_v, s.n);
              } else {
                HWY_DYNAMIC_DISPATCH(step)(s);
              }
              if (p.copy == 0) return;
              uint16_t* copy = run.outputs[p.copy].as<uint16_t>() + block.begin;
              for (int64_t k = 0; k < s.n; ++k) copy[k] = to_bf16(s.new_param[k]);
            });
          }};
}

}  // namespace

void add_adamw_cpu(KernelTable& table) {
  table.add({.op = "adamw",
             .name = "adamw.f32",
             .supports =
                 [](const KernelSignature& s) {
                   return supports_adamw(s, [](DType grad) { return grad == DType::f32; });
                 },
             .bind = bind});
}

}  // namespace floe
#endif
