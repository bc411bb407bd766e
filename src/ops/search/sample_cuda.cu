// sample on the GPU: a block a row. Weights are computed in double as on the CPU and kept as whole multiples
// of 2^-k, k = 62 - log2 V rounded up, so that their sums are exact: no order of adding changes a draw, and a
// weight below 2^-k of the most probable one's counts as 0 (k is 47 for 32k classes).
//
// What is kept is everything from some key upward (kernel/cuda/top_keys.cuh: by logit, then by id). top_k
// finds that key by radix selection. top_p finds it bit by bit, mostly among the 2,048 most probable ones
// alone.
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/philox.cuh"
#include "kernel/cuda/top_keys.cuh"
#include "ops/search/search_kernel.h"

namespace floe {
namespace {

enum Input { kLogits, kScores, kTemperature, kTopK, kTopP, kSeeds, kOrdinals, kDraws, kPositions };

constexpr unsigned kAll = 0xFFFFFFFFu;
constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kDigit = 11;
constexpr int kBins = 1 << kDigit;
constexpr int kBinsPerThread = kBins / kThreads;
constexpr int kGathered = 2048;
static_assert(kWarps == 32, "one warp adds what the warps have");

using Weight = unsigned long long;

struct Call {
  const float* logits;
  const float* scores;
  const float* temperature;
  const int32_t* top_k;
  const float* top_p;
  const int32_t* seeds;
  const int32_t* ordinals;
  const int32_t* draws;
  const int32_t* positions;
  float* values;
  int32_t* tokens;
  int32_t* parents;
  float* log_probs;
  uint32_t op_id;
  int vocabulary;
  double unit;  // the weight 1
};

struct Shared {
  uint32_t bins[kBins];
  TopKey keys[kGathered];
  Weight weights[kGathered];
  Weight warps[kWarps];
  uint32_t counts[kWarps];
  uint32_t bin;   // chosen by select_rank
  uint32_t need;  // of that bin
  int gathered;
  int token;
};

__device__ float infinity() { return __int_as_float(0x7F800000); }

template <class T>
__device__ T warp_sum(T x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}
template <class T>
__device__ T scan_warp(T x) {  // with the own lane's
  const unsigned lane = threadIdx.x % 32;
#pragma unroll
  for (unsigned step = 1; step < 32; step *= 2) {
    const T other = __shfl_up_sync(kAll, x, step);
    if (lane >= step) x += other;
  }
  return x;
}

// Of the block's, in every thread. Integers: the order is of no account.
__device__ Weight block_sum(Weight x, Shared& shared) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared.warps[threadIdx.x / 32] = x;
  __syncthreads();
  return warp_sum(shared.warps[threadIdx.x % 32]);
}
__device__ TopKey block_max(TopKey x, Shared& shared) {
  const auto max_of_warp = [](TopKey y) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const TopKey other = __shfl_xor_sync(kAll, y, step);
      y = other > y ? other : y;
    }
    return y;
  };
  x = max_of_warp(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared.warps[threadIdx.x / 32] = x;
  __syncthreads();
  return max_of_warp(shared.warps[threadIdx.x % 32]);
}

struct Row {
  const float* x;
  int size;
  float most;
  double temperature;
  double unit;

  __device__ TopKey key(int id) const {
    return top_key(x[id] > -infinity() ? ordered_bits(x[id]) : 0, static_cast<uint32_t>(id));
  }
  __device__ Weight weight(float logit) const {
    const double distance = static_cast<double>(logit) - static_cast<double>(most);
    return static_cast<Weight>(temperature > 0 ? ::exp(distance / temperature) * unit : unit);
  }
  __device__ Weight weight_from(int id, TopKey lowest) const { return key(id) >= lowest ? weight(x[id]) : 0; }

  // The sum over all keys from `lowest` on.
  __device__ Weight mass(TopKey lowest, Shared& shared) const {
    Weight sum = 0;
    for (int id = static_cast<int>(threadIdx.x); id < size; id += kThreads) sum += weight_from(id, lowest);
    return block_sum(sum, shared);
  }
};

// A key at or below the rank-th largest (rank >= 1, not more than there are) and above the next: digit by
// digit from the top, until a bin is wanted whole.
__device__ TopKey select_rank(const Row& row, uint32_t rank, Shared& shared) {
  const int thread = static_cast<int>(threadIdx.x);
  TopKey prefix = 0;
  int above = 64;  // the bits below this one are not known yet
  uint32_t need = rank;
  while (above > 0) {
    const int width = ::min(kDigit, above);
    const int shift = above - width;
    __syncthreads();
    for (int i = thread; i < kBins; i += kThreads) shared.bins[i] = 0;
    __syncthreads();
    for (int id = thread; id < row.size; id += kThreads) {
      const TopKey key = row.key(id);
      if (key < kFirstKey || (above < 64 && key >> above != prefix)) continue;
      atomicAdd(&shared.bins[(key >> shift) & ((1u << width) - 1)], 1u);
    }
    __syncthreads();
    // Thread 0 has the highest bins.
    const int top = kBins - 1 - kBinsPerThread * thread;
    uint32_t own = 0;
#pragma unroll
    for (int k = 0; k < kBinsPerThread; ++k) own += shared.bins[top - k];
    const uint32_t within = scan_warp(own);
    if (thread % 32 == 31) shared.counts[thread / 32] = within;
    __syncthreads();
    const uint32_t of_warps = scan_warp(shared.counts[thread % 32]);
    const uint32_t up_to_warp = __shfl_sync(kAll, of_warps, thread / 32) - shared.counts[thread / 32];
    uint32_t before = up_to_warp + within - own;
    if (before < need && need <= before + own) {
      int bin = top;
      while (before + shared.bins[bin] < need) before += shared.bins[bin--];
      shared.bin = static_cast<uint32_t>(bin);
      shared.need = need - before;
    }
    __syncthreads();
    prefix = prefix << width | shared.bin;
    need = shared.need;
    above = shift;
    if (shared.bins[shared.bin] == need) break;
  }
  return prefix << above;
}

// The largest key from which on the mass is at least `need`, given that it lies in lowest..best.
template <class Mass>
__device__ TopKey select_mass(TopKey lowest, TopKey best, Weight need, const Mass& mass_from) {
  if (lowest == best) return best;
  const int bits = 64 - __clzll(static_cast<long long>(lowest ^ best));  // that may differ; at least 1
  TopKey key = bits == 64 ? 0 : best >> bits << bits;
  for (int bit = bits - 1; bit >= 0; --bit) {
    const TopKey next = key | TopKey{1} << bit;
    if (next <= lowest || mass_from(next) >= need) key = next;
  }
  return key > lowest ? key : lowest;
}

// The lowest key of the fewest most probable ones that reach top_p of the mass from `lowest` on.
__device__ TopKey nucleus(const Row& row, float top_p, TopKey lowest, TopKey best, uint32_t kept,
                          Shared& shared) {
  const double wanted = static_cast<double>(top_p) * static_cast<double>(row.mass(lowest, shared));
  if (!(wanted > 0)) return best;
  const auto need = static_cast<Weight>(::ceil(wanted));
  const TopKey bar = kept <= kGathered ? lowest : select_rank(row, kGathered, shared);
  if (threadIdx.x == 0) shared.gathered = 0;
  __syncthreads();
  for (int id = static_cast<int>(threadIdx.x); id < row.size; id += kThreads) {
    const TopKey key = row.key(id);
    if (key < bar) continue;
    const int at = atomicAdd(&shared.gathered, 1);
    shared.keys[at] = key;
    shared.weights[at] = row.weight(row.x[id]);
  }
  __syncthreads();
  const auto gathered_mass = [&](TopKey from) {
    Weight sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < shared.gathered; i += kThreads) {
      sum += shared.keys[i] >= from ? shared.weights[i] : 0;
    }
    return block_sum(sum, shared);
  };
  if (gathered_mass(bar) >= need) return select_mass(bar, best, need, gathered_mass);
  if (bar == lowest) return lowest;  // rounding of top_p * mass: everything stays
  return select_mass(lowest, bar, need, [&](TopKey from) { return row.mass(from, shared); });
}

// The first id whose sum of weights, with those of the ids before it, passes uniform * all; bits / 2^24 is
// uniform.
__device__ int draw(const Row& row, TopKey lowest, uint32_t bits, Shared& shared) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int segment = (row.size + kThreads - 1) / kThreads * 32;  // ids of a warp
  const int first = warp * segment;
  const int last = ::min(first + segment, row.size);
  Weight sum = 0;
  for (int id = first + lane; id < last; id += 32) sum += row.weight_from(id, lowest);
  sum = warp_sum(sum);
  __syncthreads();
  if (lane == 0) shared.warps[warp] = sum;
  __syncthreads();
  const Weight up_to = scan_warp(shared.warps[lane]);
  const Weight all = __shfl_sync(kAll, up_to, 31);
  const Weight goal = __umul64hi(all, bits) << 40 | all * bits >> 24;  // all * bits / 2^24, rounded down
  Weight before = __shfl_sync(kAll, up_to, warp) - sum;
  if (before <= goal && goal < before + sum) {  // one warp, for goal < all
    for (int id = first + lane; id - lane < last; id += 32) {
      const Weight own = id < last ? row.weight_from(id, lowest) : 0;
      const Weight within = before + scan_warp(own);
      const unsigned passed = __ballot_sync(kAll, within > goal);
      if (passed != 0) {
        if (lane == __ffs(static_cast<int>(passed)) - 1) shared.token = id;
        break;
      }
      before = __shfl_sync(kAll, within, 31);
    }
  }
  __syncthreads();
  return shared.token;
}

__global__ void __launch_bounds__(kThreads) sample_kernel(const __grid_constant__ Call call) {
  __shared__ Shared shared;
  let_next_start();
  wait_for_previous();
  const int64_t r = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  const float score = call.scores[r];
  Row row{call.logits + r * call.vocabulary, call.vocabulary, 0, call.temperature[r], call.unit};

  bool sound = true;
  TopKey best = 0;
  uint32_t candidates = 0;
  for (int id = thread; id < row.size; id += kThreads) {
    sound = sound && row.x[id] < infinity();  // false for NaN
    const TopKey key = row.key(id);
    if (key >= kFirstKey) {
      ++candidates;
      best = key > best ? key : best;
    }
  }
  sound = __syncthreads_and(sound) != 0 && score == score;
  best = block_max(best, shared);
  auto kept = static_cast<uint32_t>(block_sum(candidates, shared));
  if (!sound || kept == 0 || score == -infinity()) {
    if (thread == 0) {
      call.values[r] = sound ? -infinity() : __int_as_float(0x7FC00000);
      call.log_probs[r] = -infinity();
      call.tokens[r] = call.parents[r] = -1;
    }
    return;
  }
  row.most = number_of(best);

  TopKey lowest = kFirstKey;
  const int limit = row.temperature > 0 ? call.top_k[r] : 1;
  if (limit > 0 && static_cast<uint32_t>(limit) < kept) {
    kept = static_cast<uint32_t>(limit);
    lowest = kept == 1 ? best : select_rank(row, kept, shared);
  }
  const float top_p = call.top_p[r];
  if (top_p < 1 && kept > 1) lowest = nucleus(row, top_p, lowest, best, kept, shared);

  auto token = static_cast<int>(index_of(best));
  if (lowest != best) {
    const uint4 random = philox_block(
        make_uint4(0, static_cast<uint32_t>(call.positions[r]), static_cast<uint32_t>(call.ordinals[r]),
                   static_cast<uint32_t>(call.draws[r])),
        static_cast<uint32_t>(call.seeds[r]), call.op_id);
    token = draw(row, lowest, random.x >> 8, shared);
  }
  row.temperature = 1;
  const Weight exps = row.mass(kFirstKey, shared);
  if (thread == 0) {
    const double log_sum = ::log(static_cast<double>(exps) / row.unit);
    const double distance = static_cast<double>(row.x[token]) - static_cast<double>(row.most);
    const auto log_prob = static_cast<float>(distance - log_sum);
    call.log_probs[r] = log_prob;
    call.values[r] = score + log_prob;
    call.tokens[r] = token;
    call.parents[r] = 0;
  }
}

void run_sample(const KernelRun& run, uint32_t op_id) {
  const View& logits = run.inputs[kLogits];
  const auto floats = [&](Input input) { return run.inputs[input].as<float>(); };
  const auto ints = [&](Input input) { return run.inputs[input].as<int32_t>(); };
  int bits = 0;
  while (int64_t{1} << bits < logits.dim(1)) ++bits;
  const Call call{floats(kLogits),
                  floats(kScores),
                  floats(kTemperature),
                  ints(kTopK),
                  floats(kTopP),
                  ints(kSeeds),
                  ints(kOrdinals),
                  ints(kDraws),
                  ints(kPositions),
                  run.outputs[0].as<float>(),
                  run.outputs[1].as<int32_t>(),
                  run.outputs[2].as<int32_t>(),
                  run.outputs[3].as<float>(),
                  op_id,
                  static_cast<int>(logits.dim(1)),
                  static_cast<double>(uint64_t{1} << (62 - bits))};
  launch("sample", sample_kernel,
         {.grid = dim3(static_cast<unsigned>(logits.dim(0))), .block = dim3(kThreads), .overlap = true},
         run.stream, call);
}

}  // namespace

void add_sample_cuda(KernelTable& table) {
  Kernel kernel;
  kernel.op = "sample";
  kernel.device = DeviceKind::cuda;
  kernel.name = "sample.f32";
  kernel.supports = [](const KernelSignature& s) {
    return s.inputs[kLogits] == DType::f32 && s.inputs[kScores] == DType::f32 &&
           s.inputs[kTemperature] == DType::f32 && s.inputs[kTopP] == DType::f32;
  };
  kernel.bind = [](const KernelCall& call) {
    const auto op_id = static_cast<uint32_t>(call.attrs.integer("op_id"));
    return BoundKernel{0, [op_id](const KernelRun& run) { run_sample(run, op_id); }, {}};
  };
  table.add(std::move(kernel));
}

}  // namespace floe
