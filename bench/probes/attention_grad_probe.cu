// How fast the gradient of attention on Hopper is, and whether it is right, over the sizes of
// docs/notes/cuda-flash-backward.md: batch * S = 16384 tokens, heads * d = 2048 features, bf16, random normal
// data. A line for each: milliseconds and TFLOP/s (2.5 * 4 B H S^2 d, half of it with a causal mask), medians
// of 5, beside the kernels of mma.sync; the workspace; the largest relative error of a few rows of dq, dk and
// dv against the definition in double; whether a second run gave the same bits. No arguments. Exits 1 where a
// result is wrong.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "device/cuda/check.h"
#include "ops/attention/attention_cuda.cuh"
#include "probe_parts.cuh"

namespace floe {
namespace {

struct Memory {
  void* data = nullptr;
  explicit Memory(size_t bytes) { FLOE_CUDA_CALL(cudaMalloc(&data, bytes)); }
  ~Memory() { cudaFree(data); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
};

struct Shape {
  int s, d;
  bool causal;
  int batch() const { return 16384 / s; }
  int heads() const { return 2048 / d; }
  int64_t count() const { return int64_t{16384} * 2048; }
  double flops() const {
    return 10.0 * batch() * heads() * static_cast<double>(s) * s * d * (causal ? 0.5 : 1.0);
  }
  // Of token t, head h.
  size_t at(int t, int h) const { return (static_cast<size_t>(t) * heads() + h) * d; }
};

std::vector<float> floats_of(const Memory& memory, int64_t count) {
  std::vector<uint16_t> bits(static_cast<size_t>(count));
  FLOE_CUDA_CALL(cudaMemcpy(bits.data(), memory.data, bits.size() * 2, cudaMemcpyDeviceToHost));
  std::vector<float> x(bits.size());
  for (size_t i = 0; i < bits.size(); ++i) {
    const uint32_t word = static_cast<uint32_t>(bits[i]) << 16;
    std::memcpy(&x[i], &word, 4);
  }
  return x;
}

struct Host {
  std::vector<float> q, k, v, out, dout, lse;
};

double dot(const float* a, const float* b, int d) {
  double sum = 0;
  for (int i = 0; i < d; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// One row of dq (row = query) or of dk and dv (row = key) from q, k, v, out, dout and lse as they are.
struct Row {
  std::vector<double> dq, dk, dv;
};
Row row_of(const Shape& shape, const Host& x, int b, int h, int row) {
  const int d = shape.d;
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  Row r{std::vector<double>(d), std::vector<double>(d), std::vector<double>(d)};
  const auto add = [&](int i, int j, bool query) {
    const size_t qi = shape.at(b * shape.s + i, h), kj = shape.at(b * shape.s + j, h);
    const float lse = x.lse[(static_cast<size_t>(b) * shape.heads() + h) * shape.s + i];
    const double p = std::exp(dot(&x.q[qi], &x.k[kj], d) * scale - lse);
    const double delta = dot(&x.out[qi], &x.dout[qi], d);
    const double ds = p * (dot(&x.dout[qi], &x.v[kj], d) - delta) * scale;
    for (int c = 0; c < d; ++c) {
      if (query) {
        r.dq[c] += ds * x.k[kj + c];
      } else {
        r.dk[c] += ds * x.q[qi + c];
        r.dv[c] += p * x.dout[qi + c];
      }
    }
  };
  for (int other = 0; other < shape.s; ++other) {
    if (!shape.causal || other <= row) add(row, other, true);
    if (!shape.causal || other >= row) add(other, row, false);
  }
  return r;
}
double relative_error(const float* got, const std::vector<double>& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::isnan(error) ? INFINITY : std::sqrt(error / norm);
}

// Whether all is right.
bool probe(const Shape& shape) {
  const int b = shape.batch(), h = shape.heads(), s = shape.s, d = shape.d;
  const size_t bytes = static_cast<size_t>(shape.count()) * 2;
  Memory q(bytes), k(bytes), v(bytes), out(bytes), dout(bytes), dq(bytes), dk(bytes), dv(bytes);
  Memory lse(static_cast<size_t>(b) * h * s * 4);
  uint64_t seed = 1;
  for (const Memory* x : {&q, &k, &v, &dout}) {
    fill_normal<<<static_cast<unsigned>(shape.count() / 256), 256>>>(static_cast<Half*>(x->data),
                                                                     shape.count(), seed++);
  }
  const HeadsLayout layout{int64_t{1} * s * h * d, int64_t{1} * h * d, d};
  AttentionSpec spec{b, s, s, h, h, d, d, layout, layout, layout, layout, layout, layout};
  spec.causal = shape.causal ? AttentionSpec::Causal::top_left : AttentionSpec::Causal::none;
  spec.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(d)));
  const AttentionProblem problem = AttentionProblem::of(spec);
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
  if (!plan.taken) {
    std::printf("this device or size is not taken\n");
    return false;
  }
  const size_t workspace_bytes = std::max(plan.bytes, static_cast<size_t>(b) * h * s * 4);
  Memory workspace(workspace_bytes);
  data.workspace = static_cast<float*>(workspace.data);
  FLOE_CUDA_CALL(cudaMemset(workspace.data, 0xff, workspace_bytes));
  const auto run = [&] { queue_wgmma_grad<Half>(problem, plan, data, nullptr); };
  const Memory* results[] = {&dq, &dk, &dv};
  std::vector<char> first[3];
  bool same = true;
  for (int round = 0; round < 2; ++round) {
    for (const Memory* x : results) FLOE_CUDA_CALL(cudaMemset(x->data, 0xff, bytes));
    run();
    FLOE_CUDA_CALL(cudaDeviceSynchronize());
    for (int i = 0; i < 3; ++i) {
      std::vector<char> got(bytes);
      FLOE_CUDA_CALL(cudaMemcpy(got.data(), results[i]->data, bytes, cudaMemcpyDeviceToHost));
      if (round == 0) {
        first[i] = std::move(got);
      } else {
        same = same && got == first[i];
      }
    }
  }
  Host x{floats_of(q, shape.count()),    floats_of(k, shape.count()),
         floats_of(v, shape.count()),    floats_of(out, shape.count()),
         floats_of(dout, shape.count()), std::vector<float>(static_cast<size_t>(b) * h * s)};
  FLOE_CUDA_CALL(cudaMemcpy(x.lse.data(), lse.data, x.lse.size() * 4, cudaMemcpyDeviceToHost));
  const std::vector<float> got[] = {floats_of(dq, shape.count()), floats_of(dk, shape.count()),
                                    floats_of(dv, shape.count())};
  double worst[3] = {0, 0, 0};
  for (const int row : {0, 1, 63, 64, 127, 128, s / 2 + 5, s - 130, s - 1}) {
    for (const int head : {0, h - 1}) {
      const int batch = head == 0 ? b - 1 : 0;
      const Row want = row_of(shape, x, batch, head, row);
      const size_t at = shape.at(batch * s + row, head);
      // The first query of a causal mask sees one key, so its dq is 0 but for rounding.
      if (!shape.causal || row > 0) worst[0] = std::max(worst[0], relative_error(&got[0][at], want.dq));
      worst[1] = std::max(worst[1], relative_error(&got[1][at], want.dk));
      worst[2] = std::max(worst[2], relative_error(&got[2][at], want.dv));
    }
  }
  const bool right = same && worst[0] < 0.02 && worst[1] < 0.02 && worst[2] < 0.02;
  const double time = milliseconds(run);
  const double other = milliseconds([&] { queue_mma_grad<Half>(problem, data, nullptr); });
  std::printf("%4d %-7s %6d %9.3f %8.1f %8.1f %8.1f   %.1e %.1e %.1e  %s%s\n", d,
              shape.causal ? "causal" : "full", s, time, shape.flops() / time * 1e-9,
              shape.flops() / other * 1e-9, static_cast<double>(plan.bytes) / (1 << 20), worst[0], worst[1],
              worst[2], same ? "same" : "OTHER BITS", right ? "" : "  WRONG");
  std::fflush(stdout);
  return right;
}

}  // namespace
}  // namespace floe

int main() {
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) {
    std::printf("no GPU\n");
    return 1;
  }
  std::printf("%s, %d processors\n", properties.name, properties.multiProcessorCount);
  std::printf("   d mask         S        ms   TFLOP/s mma.sync  workspace MiB  error of dq, dk, dv\n");
  bool right = true;
  for (const int d : {64, 128}) {
    for (const bool causal : {false, true}) {
      for (int s = 512; s <= 16384; s *= 2) right = floe::probe({s, d, causal}) && right;
    }
  }
  return right ? 0 : 1;
}
