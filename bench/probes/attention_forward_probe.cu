// How fast attention's forward pass on sm_90 is, and whether it is right, over the sizes of
// docs/notes/cuda-flash-forward.md: batch * S = 16384 tokens, heads * d = 2048 features, bf16, random normal
// data. A line for each kernel and mask, a column for each S: TFLOP/s (4 B H S^2 d, half of it with a causal
// mask), medians of
// 5. First the kernels that the op takes, then variants of tile, buffers and order; the argument `taken` or
// `variants` asks for one of the two.
// Before a cell is timed, rows of it are compared with the definition in double and the bits of two runs with
// each other: a `!` behind a number says that this failed, and the program ends with 1.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "device/cuda/check.h"
#include "ops/attention/attention_wgmma_cuda.cuh"
#include "probe_parts.cuh"

namespace floe {
namespace {

using Queue = void (*)(const AttentionProblem&, const AttentionPointers&, void*);

struct Shape {
  int s, d;
  bool causal;
  int batch() const { return 16384 / s; }
  int heads() const { return 2048 / d; }
  double flops() const {
    return 4.0 * batch() * heads() * static_cast<double>(s) * s * d * (causal ? 0.5 : 1.0);
  }
};
constexpr int64_t kCount = int64_t{16384} * 2048;
constexpr size_t kBytes = kCount * 2;

// The tensors of every case: 16384 rows of 2048 features.
struct Data {
  std::vector<Half> q, k, v;  // on the host
  void *device_q, *device_k, *device_v, *device_out;
  float* device_lse;

  Data() : q(kCount), k(kCount), v(kCount) {
    uint64_t seed = 1;
    const auto fill = [&](void** to, std::vector<Half>* copy) {
      FLOE_CUDA_CALL(cudaMalloc(to, kBytes));
      launch("normal values", fill_normal, {dim3(kCount / 256), dim3(256)}, nullptr, static_cast<Half*>(*to),
             kCount, seed++);
      FLOE_CUDA_CALL(cudaMemcpy(copy->data(), *to, kBytes, cudaMemcpyDeviceToHost));
    };
    fill(&device_q, &q);
    fill(&device_k, &k);
    fill(&device_v, &v);
    FLOE_CUDA_CALL(cudaMalloc(&device_out, kBytes));
    FLOE_CUDA_CALL(cudaMalloc(reinterpret_cast<void**>(&device_lse), sizeof(float) * kCount / 64));
  }
};

// Relative error of one row of out, and the difference of its lse.
struct RowErrors {
  double out, lse;
};
RowErrors errors(const Shape& shape, const Data& data, const std::vector<Half>& out,
                 const std::vector<float>& lse, int b, int h, int row) {
  const int d = shape.d, keys = shape.causal ? row + 1 : shape.s;
  const auto at = [&](int i) { return (static_cast<size_t>(b * shape.s + i) * shape.heads() + h) * d; };
  std::vector<double> scores(keys), want(d);
  double top = -INFINITY, sum = 0;
  for (int j = 0; j < keys; ++j) {
    double score = 0;
    for (int c = 0; c < d; ++c) {
      score +=
          static_cast<double>(__bfloat162float(data.q[at(row) + c])) * __bfloat162float(data.k[at(j) + c]);
    }
    scores[j] = score / std::sqrt(static_cast<double>(d));
    top = std::max(top, scores[j]);
  }
  for (int j = 0; j < keys; ++j) {
    const double p = std::exp(scores[j] - top);
    sum += p;
    for (int c = 0; c < d; ++c) want[c] += p * __bfloat162float(data.v[at(j) + c]);
  }
  double error = 0, norm = 0;
  for (int c = 0; c < d; ++c) {
    const double x = want[c] / sum, difference = __bfloat162float(out[at(row) + c]) - x;
    error += difference * difference;
    norm += x * x;
  }
  const float got = lse[(static_cast<size_t>(b) * shape.heads() + h) * shape.s + row];
  return {std::sqrt(error / norm), std::fabs(got - (top + std::log(sum)))};
}

bool is_right(const Shape& shape, const Data& data, const std::function<void()>& run) {
  std::vector<Half> out[2] = {std::vector<Half>(kCount), std::vector<Half>(kCount)};
  std::vector<float> lse(static_cast<size_t>(16384) * shape.heads());
  for (std::vector<Half>& copy : out) {
    FLOE_CUDA_CALL(cudaMemset(data.device_out, 0xff, kBytes));
    FLOE_CUDA_CALL(cudaMemset(data.device_lse, 0xff, lse.size() * sizeof(float)));
    run();
    FLOE_CUDA_CALL(cudaMemcpy(copy.data(), data.device_out, kBytes, cudaMemcpyDeviceToHost));
  }
  FLOE_CUDA_CALL(cudaMemcpy(lse.data(), data.device_lse, lse.size() * sizeof(float), cudaMemcpyDeviceToHost));
  bool right = std::memcmp(out[0].data(), out[1].data(), kBytes) == 0;
  for (const int row : {0, 1, 63, 64, 127, 128, 191, shape.s / 2 + 5, shape.s - 130, shape.s - 1}) {
    for (const int h : {0, shape.heads() - 1}) {
      const RowErrors e = errors(shape, data, out[0], lse, h == 0 ? shape.batch() - 1 : 0, h, row);
      right = right && e.out < 0.01 && e.lse < 1e-4;  // NaN is not less
    }
  }
  for (const float x : lse) right = right && std::isfinite(x);
  return right;
}

AttentionProblem problem_of(const Shape& shape) {
  const HeadsLayout layout{static_cast<int64_t>(shape.s) * 2048, 2048, shape.d};
  AttentionSpec spec{shape.batch(), shape.s, shape.s, shape.heads(), shape.heads(),
                     shape.d,       shape.d, layout,  layout,        layout};
  spec.causal = shape.causal ? AttentionSpec::Causal::top_left : AttentionSpec::Causal::none;
  spec.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.d)));
  return AttentionProblem::of(spec);
}

// One line.
bool probe(const char* name, int d, bool causal, Queue queue, const Data& data,
           const std::vector<int>& rows) {
  std::printf("%3d %-6s %-22s", d, causal ? "causal" : "full", name);
  bool right = true;
  for (int s = 512; s <= 16384; s *= 2) {
    if (std::find(rows.begin(), rows.end(), s) == rows.end()) {
      std::printf("%9s", "-");
      continue;
    }
    const Shape shape{s, d, causal};
    const AttentionProblem problem = problem_of(shape);
    AttentionPointers pointers;
    pointers.q = data.device_q;
    pointers.k = data.device_k;
    pointers.v = data.device_v;
    pointers.to_out = data.device_out;
    pointers.to_lse = data.device_lse;
    const auto run = [&] { queue(problem, pointers, nullptr); };
    const bool cell = is_right(shape, data, run);
    right = right && cell;
    std::printf("%8.1f%c", shape.flops() / milliseconds(run) * 1e-9, cell ? ' ' : '!');
    std::fflush(stdout);
  }
  std::printf("\n");
  return right;
}

template <ForwardOptions kOptions>
void queue_variant(const AttentionProblem& s, const AttentionPointers& data, void* stream) {
  queue_wgmma<WgmmaForwardTraits<Half, kOptions>>(s, data, stream);
}

struct Variant {
  const char* name;
  int d;
  Queue queue;
};
// Queries x keys, buffers; `pairs`: blocks that stay and, with a causal mask, take pairs of tiles; `each`: a
// block for each tile; `shared`: outputs in the queries' memory; `votes`: outputs are rescaled only where a
// maximum rose.
constexpr Variant kVariants[] = {
    {"192x128 pairs", 64, queue_variant<ForwardOptions{.width = 64, .warpgroups = 3, .keys = 128}>},
    {"192x128 each", 64,
     queue_variant<ForwardOptions{.width = 64, .warpgroups = 3, .keys = 128, .stays = false}>},
    {"192x128 pairs votes", 64,
     queue_variant<ForwardOptions{.width = 64, .warpgroups = 3, .keys = 128, .votes = true}>},
    {"128x128 pairs", 128, queue_variant<ForwardOptions{.width = 128, .warpgroups = 2, .keys = 128}>},
    {"128x128 pairs votes", 128,
     queue_variant<ForwardOptions{.width = 128, .warpgroups = 2, .keys = 128, .votes = true}>},
    {"128x128 each votes", 128,
     queue_variant<ForwardOptions{
         .width = 128, .warpgroups = 2, .keys = 128, .stays = false, .votes = true}>},
    {"128x128 each x3", 128,
     queue_variant<ForwardOptions{
         .width = 128, .warpgroups = 2, .keys = 128, .stages = 3, .own_out = false, .stays = false}>},
    {"128x128 shared", 128,
     queue_variant<ForwardOptions{.width = 128, .warpgroups = 2, .keys = 128, .own_out = false}>},
    {"128x80 pairs", 256,
     queue_variant<ForwardOptions{.width = 256, .warpgroups = 2, .keys = 80, .own_out = false}>},
    {"128x80 each votes", 256,
     queue_variant<ForwardOptions{
         .width = 256, .warpgroups = 2, .keys = 80, .own_out = false, .stays = false, .votes = true}>},
};

int run(const std::string& part) {
  const Data data;
  const std::vector<int> all = {512, 1024, 2048, 4096, 8192, 16384};
  const std::vector<int> some = {512, 2048, 8192, 16384};
  std::printf("%-33s", "TFLOP/s");
  for (const int s : all) std::printf("%8d ", s);
  std::printf("\n");
  bool right = true;
  for (const int d : {64, 128, 256}) {
    for (const bool causal : {false, true}) {
      if (part == "variants") continue;
      right = probe("taken", d, causal, queue_wgmma_forward<Half>, data, all) && right;
    }
  }
  for (const Variant& variant : kVariants) {
    if (part == "taken") break;
    for (const bool causal : {false, true}) {
      right = probe(variant.name, variant.d, causal, variant.queue, data, some) && right;
    }
  }
  return right ? 0 : 1;
}

}  // namespace
}  // namespace floe

int main(int argc, char** argv) {
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) {
    std::printf("no GPU\n");
    return 1;
  }
  std::printf("%s, %d processors\n", properties.name, properties.multiProcessorCount);
  return floe::run(argc > 1 ? argv[1] : "");
}
