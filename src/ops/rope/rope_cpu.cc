// rope on the CPU: sines and cosines of a token's angles once, in double, for all its heads.
#include <cmath>
#include <vector>

#include "device/cpu/thread_pool.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int64_t kTokensPerTask = 16;

BoundKernel bind_rope(const KernelCall& call) {
  const View& x = call.inputs[0];
  const int64_t tokens = x.dims[0] * x.dims[1];
  const int64_t length = x.dims[1];
  const int64_t heads = x.dims[2];
  const int64_t width = x.dims[3];
  const int64_t half = width / 2;
  const int64_t batch_stride = x.strides[0], row_stride = x.strides[1], head_stride = x.strides[2];
  const bool interleaved = call.attrs.flag("interleaved");
  std::vector<double> rates;
  for (int64_t i = 0; i < half; ++i) {
    rates.push_back(
        std::pow(call.attrs.number("base"), -2.0 * static_cast<double>(i) / static_cast<double>(width)) *
        (call.attrs.flag("inverse") ? -1 : 1));
  }
  const int64_t scratch = (2 * half + 15) / 16 * 16;
  return {static_cast<size_t>(scratch * call.threads) * sizeof(float), [=](const KernelRun& run) {
            const auto* from = run.inputs[0].as<float>();
            const auto* positions = run.inputs[1].as<int32_t>();
            auto* to = run.outputs[0].as<float>();
            run.pool->run_ranges(tokens, kTokensPerTask, [&](int64_t begin, int64_t end, int worker) {
              float* cosines = static_cast<float*>(run.workspace) + worker * scratch;
              float* sines = cosines + half;
              const int64_t pair = interleaved ? 2 : 1;
              const int64_t other = interleaved ? 1 : half;
              for (int64_t token = begin; token < end; ++token) {
                for (int64_t i = 0; i < half; ++i) {
                  const double angle = static_cast<double>(positions[token]) * rates[static_cast<size_t>(i)];
                  cosines[i] = static_cast<float>(std::cos(angle));
                  sines[i] = static_cast<float>(std::sin(angle));
                }
                for (int64_t head = 0; head < heads; ++head) {
                  const float* u =
                      from + token / length * batch_stride + token % length * row_stride + head * head_stride;
                  float* y = to + (token * heads + head) * width;
                  for (int64_t i = 0; i < half; ++i) {
                    const float first = u[i * pair];
                    const float second = u[i * pair + other];
                    y[i * pair] = first * cosines[i] - second * sines[i];
                    y[i * pair + other] = first * sines[i] + second * cosines[i];
                  }
                }
              }
            });
          }};
}

}  // namespace

void add_rope_cpu(KernelTable& table) {
  Kernel kernel;
  kernel.op = "rope";
  kernel.name = "rope.f32";
  kernel.supports = [](const KernelSignature& signature) { return signature.inputs[0] == DType::f32; };
  kernel.bind = bind_rope;
  kernel.strided_inputs = 0b1;
  table.add(std::move(kernel));
}

}  // namespace floe
