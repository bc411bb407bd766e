// Chunks of rows, so that full logits never exist. For each chunk: logits by one product, in the operands'
// type; each row of them turned into softmax minus target in place; dx by a second product; dweight by a
// third that adds in f32; dbias from sums of slices of rows. Chunks and slices are cut by the sizes alone and
// come in order, so sums are deterministic.
//
// bf16 logits l err by 2^-8 |l| at most, either way: a position's nll by twice that, a softmax value p by
// 2^-7 |l| p. Errors of positions and classes are independent, so in sums they shrink as those of the bf16
// operands do (docs/notes/cuda-gemm.md).
//
// A target outside 0..V-1 that is not ignore_index cannot be refused here: its position gives NaN.
#include <algorithm>
#include <memory>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/column_sums.h"
#include "kernel/cuda/gemm.h"
#include "kernel/cuda/slices.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr int kThreads = 512;
constexpr int64_t kChunkBytes = int64_t{160} << 20;  // of logits
constexpr int64_t kMostRows = 4096;
constexpr int64_t kRowStep = 256;  // whole tiles of the products
static_assert(kRowStep % ColumnSlices::kRows == 0, "a chunk that is not the last one ends with a slice");

int64_t chunk_rows(int64_t rows, int64_t classes, size_t element) {
  const int64_t fit = kChunkBytes / std::max<int64_t>(1, classes * static_cast<int64_t>(element));
  const int64_t most = std::clamp(fit / kRowStep * kRowStep, kRowStep, kMostRows);
  return std::min(std::max<int64_t>(1, rows), most);
}

// Of a part of a row: the greatest logit, the sum of exp(logit - greatest), and of the logits. That sum is
// not finite where one of them is not.
struct Part {
  float most, exps, sum;
};

__device__ Part joined(const Part& a, const Part& b) {
  const float most = fmaxf(a.most, b.most);
  // Both empty: their exps are 0 and no scale is needed (inf - inf would be NaN).
  const float left = a.most == most ? 1.0f : expf(a.most - most);
  const float right = b.most == most ? 1.0f : expf(b.most - most);
  return {most, a.exps * left + b.exps * right, a.sum + b.sum};
}

__device__ Part shuffled(const Part& a, int offset) {
  return {__shfl_xor_sync(0xFFFFFFFFu, a.most, offset), __shfl_xor_sync(0xFFFFFFFFu, a.exps, offset),
          __shfl_xor_sync(0xFFFFFFFFu, a.sum, offset)};
}

// Lower lanes are the left operands, so that every thread ends with the same bits.
__device__ Part over_block(Part part) {
  __shared__ Part parts[kThreads / 32];
  const int lane = threadIdx.x % 32;
  for (int offset = 1; offset < 32; offset *= 2) {
    const Part other = shuffled(part, offset);
    part = (lane & offset) == 0 ? joined(part, other) : joined(other, part);
  }
  if (lane == 0) parts[threadIdx.x / 32] = part;
  __syncthreads();
  part = parts[0];
  for (int i = 1; i < kThreads / 32; ++i) part = joined(part, parts[i]);
  return part;
}

struct RowArgs {
  const int32_t* targets;  // of this chunk
  double* loss;
  double* nll;
  int64_t classes;
  int64_t ignore;
  double smoothing;
};

// A block a row, kVector elements at once; the row begins at a multiple of their bytes.
template <class T, int kVector, bool kGradient>
__global__ void __launch_bounds__(kThreads) finish_rows(T* logits, RowArgs args) {
  const int64_t classes = args.classes;
  T* row = logits + blockIdx.x * classes;
  const int64_t target = args.targets[blockIdx.x];
  if (target == args.ignore) {
    if (threadIdx.x == 0) args.loss[blockIdx.x] = args.nll[blockIdx.x] = 0;
    if constexpr (kGradient) {
      const float zeros[kVector] = {};
      for (int64_t i = threadIdx.x * kVector; i < classes; i += kThreads * kVector)
        store_floats(row + i, zeros);
    }
    return;
  }
  const bool known = target >= 0 && target < classes;
  const float at_target = known ? to_float(row[target]) : NAN;
  Part part{-INFINITY, 0, 0};
  for (int64_t i = threadIdx.x * kVector; i < classes; i += kThreads * kVector) {
    float x[kVector];
    load_floats(row + i, x);
    float most = part.most;
#pragma unroll
    for (int k = 0; k < kVector; ++k) most = fmaxf(most, x[k]);
    float exps = most == part.most ? part.exps : part.exps * expf(part.most - most);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      exps += expf(x[k] - most);
      part.sum += x[k];
    }
    part.most = most;
    part.exps = exps;
  }
  part = over_block(part);  // also: every thread has read at_target
  const bool finite = isfinite(part.sum) && known;
  if (threadIdx.x == 0) {
    const double lse = static_cast<double>(part.most) + ::log(static_cast<double>(part.exps));
    const double nll = finite ? lse - static_cast<double>(at_target) : static_cast<double>(NAN);
    const double mean = static_cast<double>(part.sum) / static_cast<double>(classes);
    args.nll[blockIdx.x] = nll;
    args.loss[blockIdx.x] = (1 - args.smoothing) * nll + (finite ? args.smoothing * (lse - mean) : 0);
  }
  if constexpr (kGradient) {
    const float share = finite ? 1.0f / part.exps : NAN;
    const auto even = static_cast<float>(-args.smoothing / static_cast<double>(classes));
    const auto hit = static_cast<float>(1 - args.smoothing);
    for (int64_t i = threadIdx.x * kVector; i < classes; i += kThreads * kVector) {
      float x[kVector];
      load_floats(row + i, x);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        x[k] = expf(x[k] - part.most) * share + even;
        if (i + k == target) x[k] -= hit;
      }
      store_floats(row + i, x);
    }
  }
}

// One block: three sums in a fixed order.
__global__ void __launch_bounds__(1024)
    total_rows(const double* loss, const double* nll, const int32_t* targets, int64_t rows, int64_t ignore,
               float* out_loss, float* out_nll, float* out_tokens) {
  __shared__ double sums[2][1024];
  __shared__ int64_t counts[1024];
  double l = 0, n = 0;
  int64_t count = 0;
  for (int64_t i = threadIdx.x; i < rows; i += 1024) {
    l += loss[i];
    n += nll[i];
    count += targets[i] != ignore ? 1 : 0;
  }
  sums[0][threadIdx.x] = l;
  sums[1][threadIdx.x] = n;
  counts[threadIdx.x] = count;
  for (int half = 512; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x >= half) continue;
    sums[0][threadIdx.x] += sums[0][threadIdx.x + half];
    sums[1][threadIdx.x] += sums[1][threadIdx.x + half];
    counts[threadIdx.x] += counts[threadIdx.x + half];
  }
  if (threadIdx.x != 0) return;
  *out_loss = static_cast<float>(sums[0][0]);
  *out_nll = static_cast<float>(sums[1][0]);
  *out_tokens = static_cast<float>(counts[0]);
}

// x for dweight: the rows of ignored positions are zeros, as 0 * NaN would be NaN.
template <class T, int kVector>
__global__ void counted_rows(const T* x, const int32_t* targets, T* to, int64_t words, int64_t words_of_row,
                             int64_t ignore) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t word = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; word < words;
       word += step) {
    float values[kVector] = {};
    if (targets[word / words_of_row] != ignore) load_floats(x + word * kVector, values);
    store_floats(to + word * kVector, values);
  }
}

constexpr unsigned kMostBlocks = 132 * 8 * 2;  // of kernels that stride over their grid: twice a full H100

template <class T, int kVector>
void take_counted(const T* x, const int32_t* targets, T* to, int64_t rows, int64_t d, int64_t ignore,
                  void* stream) {
  const int64_t words = rows * d / kVector;
  launch("counted_rows", counted_rows<T, kVector>,
         {.grid = dim3(std::min(blocks_for(words, 256), kMostBlocks)), .block = dim3(256)}, stream, x,
         targets, to, words, d / kVector, ignore);
}

template <class T>
__global__ void round_to_type(const float* from, T* to, int64_t n) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step)
    to[i] = from_float<T>(from[i]);
}

template <class T>
void round_values(const float* from, void* to, int64_t n, void* stream) {
  const unsigned blocks = std::min(blocks_for(n, 256), kMostBlocks);
  launch("round_to_type", round_to_type<T>, {dim3(blocks), dim3(256)}, stream, from, static_cast<T*>(to), n);
}

// The products of chunks of one height.
struct Products {
  std::unique_ptr<CudaGemm> logits;         // [h, V] = x [h, d] weight [V, d]^T
  std::unique_ptr<CudaGemm> dx;             // [h, d] = g [h, V] weight [V, d]
  std::unique_ptr<CudaGemm> dweight_first;  // [V, d] = g [h, V]^T x [h, d]
  std::unique_ptr<CudaGemm> dweight_next;   // the same, added
};

struct Plan {
  int64_t rows, classes, d, chunk;
  bool gradients, bias;
  double smoothing;
  int64_t ignore;
  DType type;
  Products whole, rest;
  bool wide_dweight;  // summed in f32 in the workspace, then rounded
  // Offsets in the workspace.
  size_t gemm_at = 0, logits_at = 0, x_at = 0, loss_at = 0, nll_at = 0, dweight_at = 0, dbias_at = 0;
  size_t bytes = 0;
};

ColumnSlices dbias_of(const Plan& p) { return {p.type, p.rows, p.classes}; }

size_t taken(size_t* used, size_t bytes) {
  const size_t at = *used;
  *used += (bytes + 255) / 256 * 256;
  return at;
}

Products products_of(const Plan& p, int64_t height) {
  Products made;
  CudaGemmShape shape{
      .m = height, .n = p.classes, .k = p.d, .transpose_b = true, .in = p.type, .out = p.type};
  shape.bias = p.bias;
  made.logits = std::make_unique<CudaGemm>(shape);
  if (!p.gradients) return made;
  made.dx = std::make_unique<CudaGemm>(
      CudaGemmShape{.m = height, .n = p.d, .k = p.classes, .in = p.type, .out = p.type});
  CudaGemmShape dweight{.m = p.classes, .n = p.d, .k = height, .transpose_a = true, .in = p.type};
  dweight.out = p.wide_dweight ? DType::f32 : p.type;
  made.dweight_first = std::make_unique<CudaGemm>(dweight);
  dweight.accumulate = true;
  made.dweight_next = std::make_unique<CudaGemm>(dweight);
  return made;
}

template <class T>
void finish(const Plan& p, T* logits, int64_t height, const RowArgs& args, void* stream) {
  constexpr int kVector = 16 / sizeof(T);
  const LaunchShape shape{dim3(static_cast<unsigned>(height)), dim3(kThreads)};
  const bool vector = p.classes % kVector == 0;
  const auto start = [&](auto kernel) { launch("finish_rows", kernel, shape, stream, logits, args); };
  if (p.gradients) {
    vector ? start(finish_rows<T, kVector, true>) : start(finish_rows<T, 1, true>);
  } else {
    vector ? start(finish_rows<T, kVector, false>) : start(finish_rows<T, 1, false>);
  }
}

template <class T>
void run_plan(const Plan& p, const KernelRun& run) {
  constexpr int kVector = 16 / sizeof(T);
  auto* memory = static_cast<char*>(run.workspace);
  void* scratch = memory + p.gemm_at;
  const T* x = run.inputs[0].as<T>();
  const void* weight = run.inputs[1].data;
  const int32_t* targets = run.inputs[2].as<int32_t>();
  const void* bias = p.bias ? run.inputs[3].data : nullptr;
  T* logits = reinterpret_cast<T*>(memory + p.logits_at);
  T* counted = reinterpret_cast<T*>(memory + p.x_at);
  auto* loss = reinterpret_cast<double*>(memory + p.loss_at);
  auto* nll = reinterpret_cast<double*>(memory + p.nll_at);
  auto* dweight_sum = reinterpret_cast<float*>(memory + p.dweight_at);
  auto* dbias_slices = reinterpret_cast<float*>(memory + p.dbias_at);
  void* dweight = !p.gradients ? nullptr : p.wide_dweight ? dweight_sum : run.outputs[4].data;
  for (int64_t begin = 0; begin < p.rows; begin += p.chunk) {
    const int64_t height = std::min(p.chunk, p.rows - begin);
    const Products& products = height == p.chunk ? p.whole : p.rest;
    products.logits->run({x + begin * p.d, weight, logits, bias}, scratch, run.stream);
    finish<T>(p, logits, height,
              {targets + begin, loss + begin, nll + begin, p.classes, p.ignore, p.smoothing}, run.stream);
    if (!p.gradients) continue;
    products.dx->run({logits, weight, run.outputs[3].as<T>() + begin * p.d}, scratch, run.stream);
    (p.d % kVector == 0 ? take_counted<T, kVector> : take_counted<T, 1>)(x + begin * p.d, targets + begin,
                                                                         counted, height, p.d, p.ignore,
                                                                         run.stream);
    const CudaGemm& add = begin == 0 ? *products.dweight_first : *products.dweight_next;
    add.run({logits, counted, dweight}, scratch, run.stream);
    if (!p.bias) continue;
    sum_slices({p.type, height, p.classes}, logits, dbias_slices + begin / ColumnSlices::kRows * p.classes,
               run.stream);
  }
  launch("total_rows", total_rows, {dim3(1), dim3(1024)}, run.stream, loss, nll, targets, p.rows, p.ignore,
         run.outputs[0].as<float>(), run.outputs[1].as<float>(), run.outputs[2].as<float>());
  if (!p.gradients) return;
  const View& dweight_view = run.outputs[4];
  if (p.rows == 0 && dweight_view.size() > 0) {
    FLOE_CUDA_CALL(cudaMemsetAsync(dweight, 0, dweight_view.bytes(), static_cast<cudaStream_t>(run.stream)));
  }
  if (p.wide_dweight) round_values<T>(dweight_sum, dweight_view.data, dweight_view.size(), run.stream);
  if (p.bias) {
    const FoldTargets<T> dbias{run.outputs[5].as<T>(), nullptr, 1};
    fold_slices(dbias_slices, dbias, 1, dbias_of(p).count(), p.classes, 0.0f, AddFloats(), StoreFloat<T>(),
                run.stream);
  }
}

BoundKernel bind(const KernelCall& call, bool gradients) {
  const auto plan = std::make_shared<Plan>();
  Plan& p = *plan;
  p.type = call.inputs[0].dtype;
  p.rows = call.inputs[2].size();
  p.classes = call.inputs[1].dim(0);
  p.d = call.inputs[1].dim(1);
  p.chunk = chunk_rows(p.rows, p.classes, size_of(p.type));
  p.gradients = gradients;
  p.bias = call.attrs.flag("bias", false);
  p.smoothing = call.attrs.number("label_smoothing");
  p.ignore = call.attrs.integer("ignore_index");
  p.wide_dweight = gradients && p.type != DType::f32 && p.rows > p.chunk;
  const int64_t rest = p.rows % p.chunk;
  if (p.rows >= p.chunk) p.whole = products_of(p, p.chunk);
  if (rest > 0) p.rest = products_of(p, rest);
  size_t gemm = 0;
  for (const Products* products : {&p.whole, &p.rest}) {
    for (const auto* each :
         {&products->logits, &products->dx, &products->dweight_first, &products->dweight_next}) {
      if (*each) gemm = std::max(gemm, (*each)->workspace());
    }
  }
  const auto bytes = [](int64_t n, size_t element) { return static_cast<size_t>(n) * element; };
  p.gemm_at = taken(&p.bytes, gemm);
  p.logits_at = taken(&p.bytes, bytes(p.chunk * p.classes, size_of(p.type)));
  p.x_at = taken(&p.bytes, gradients ? bytes(p.chunk * p.d, size_of(p.type)) : 0);
  p.loss_at = taken(&p.bytes, bytes(p.rows, sizeof(double)));
  p.nll_at = taken(&p.bytes, bytes(p.rows, sizeof(double)));
  p.dweight_at = taken(&p.bytes, p.wide_dweight ? bytes(p.classes * p.d, sizeof(float)) : 0);
  p.dbias_at = taken(&p.bytes, gradients && p.bias ? dbias_of(p).bytes() : 0);
  return {p.bytes, [plan](const KernelRun& run) {
            plan->type == DType::bf16 ? run_plan<__nv_bfloat16>(*plan, run) : run_plan<float>(*plan, run);
          }};
}

bool supports(const KernelSignature& s) {
  const DType type = s.inputs[0];
  if (type != DType::f32 && type != DType::bf16) return false;
  for (size_t i = 0; i < s.inputs.size(); ++i) {
    if (s.inputs[i] != (i == 2 ? DType::i32 : type)) return false;
  }
  return true;
}

}  // namespace

void add_linear_cross_entropy_cuda(KernelTable& table) {
  for (const bool gradients : {false, true}) {
    const std::string op = gradients ? "linear_cross_entropy_grad" : "linear_cross_entropy";
    table.add({.op = op,
               .device = DeviceKind::cuda,
               .name = op + ".chunks",
               .supports = supports,
               .bind = [gradients](const KernelCall& call) { return bind(call, gradients); }});
  }
}

}  // namespace floe
