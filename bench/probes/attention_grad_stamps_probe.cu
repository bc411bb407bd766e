// Where the time of attention's gradient on Hopper goes: clocks of a step between marks, for each computing
// warpgroup and for a warp that adds dq up (whose marks of adding are of every third part), in order and,
// with wrong bits, without waiting for turns: the difference is what a fixed order costs. Marks cost some
// themselves. Arguments: values of S; else 512 and 4096.
#define FLOE_GRAD_STAMPS
#include "../../src/ops/attention/attention_grad_wgmma_cuda.cu"
#include "attention_grad_probe_parts.cuh"

namespace floe {
namespace {

void probe(const Shape& shape) {
  const size_t bytes = static_cast<size_t>(shape.count()) * 2;
  Memory q(bytes), k(bytes), v(bytes), out(bytes), dout(bytes), dq(bytes), dk(bytes), dv(bytes);
  Memory lse(static_cast<size_t>(shape.count() / shape.d) * 4);
  uint64_t seed = 1;
  for (const Memory* x : {&q, &k, &v, &dout}) {
    fill(*x, shape.count(), seed++);
  }
  const AttentionProblem problem = problem_of(shape);
  AttentionPointers data;
  data.q = q.data;
  data.k = k.data;
  data.v = v.data;
  data.to_out = out.data;
  data.to_lse = static_cast<float*>(lse.data);
  queue_mma_forward<Half>(problem, data, nullptr);
  data.out = out.data;
  data.lse = static_cast<float*>(lse.data);
  data.dout = dout.data;
  data.dq = dq.data;
  data.dk = dk.data;
  data.dv = dv.data;
  const WgmmaGradPlan plan = WgmmaGradPlan::of(problem, false, false);
  Memory workspace(plan.bytes);
  data.workspace = static_cast<float*>(workspace.data);
  for (const int without_order : {0, 1}) {
    FLOE_CUDA_CALL(cudaMemcpyToSymbol(grad_without_order, &without_order, sizeof without_order));
    queue_wgmma_grad<Half>(problem, plan, data, nullptr);
    wait_or_quit();
    const double time = milliseconds([&] { queue_wgmma_grad<Half>(problem, plan, data, nullptr); });
    unsigned long long sums[3][kGradStamps + 1] = {};
    FLOE_CUDA_CALL(cudaMemcpyToSymbol(grad_stamps, sums, sizeof sums));
    queue_wgmma_grad<Half>(problem, plan, data, nullptr);
    FLOE_CUDA_CALL(cudaMemcpyFromSymbol(sums, grad_stamps, sizeof sums));
    std::printf("d %d %s S %d %s: %.3f ms, %.1f TFLOP/s\n", shape.d, shape.causal ? "causal" : "full",
                shape.s, without_order == 0 ? "in order" : "without order", time,
                shape.flops() / time * 1e-9);
    constexpr const char* kNames[] = {"scores", "p",     "dp",   "ds",   "ds stored", "dq",      "dq given",
                                      "dk",     "loads", "turn", "part", "read",      "written", "write dq"};
    static_assert(std::size(kNames) == kGradStamps);
    for (int who = 0; who < 3; ++who) {
      double total = 0;
      std::printf("  %s", who < 2 ? "computes:" : "adds:    ");
      for (int i = 0; i < kGradStamps; ++i) {
        const double clocks = static_cast<double>(sums[who][i]) / static_cast<double>(sums[who][kGradStamps]);
        total += clocks;
        if (sums[who][i] > 0) std::printf(" %s %.0f", kNames[i], clocks);
      }
      std::printf(" = %.0f\n", total);
    }
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace floe

int main(int count, char** arguments) {
  std::vector<int> sizes;
  for (int i = 1; i < count; ++i) sizes.push_back(std::atoi(arguments[i]));
  if (sizes.empty()) sizes = {512, 4096};
  for (const int s : sizes) {
    for (const int d : {64, 128}) {
      for (const bool causal : {false, true}) floe::probe({s, d, causal});
    }
  }
  return 0;
}
