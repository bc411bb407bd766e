// search_penalties on the GPU. A block has a slice of a row and touches nothing outside it; over its input it
// writes only what changes, and a row whose options are neutral costs the reading of its options.
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "ops/search/search_kernel.h"

namespace floe {
namespace {

enum Input { kLogits, kHistory, kLengths, kRepetition, kNgram, kMinLength, kEnds, kSuppressed, kForced };

constexpr int kThreads = 256;
constexpr int kPastPerThread = 4;
constexpr int64_t kSlice = 4096;  // 16 a thread: four loads of 16 bytes under way

struct Call {
  const float* logits;
  const int32_t* history;
  const int32_t* lengths;
  const float* repetition;
  const int32_t* ngram;
  const int32_t* min_length;
  const int32_t* ends;
  const int32_t* suppressed;
  const int32_t* forced;
  float* out;  // may be logits
  int64_t vocabulary;
  int64_t capacity;  // of a row of history
  int64_t ends_width;
  int64_t suppressed_width;
  int64_t beam;
  int64_t slice;
  int64_t slices;  // of a row
  bool wide;
};

// The block's part of a row's logits.
struct Slice {
  const float* from;
  float* to;
  int64_t first, last;
  bool wide;

  __device__ bool has(int64_t id) const { return id >= first && id < last; }
  __device__ void ban(int64_t id) const {
    if (has(id)) to[id] = __int_as_float(0xFF800000);
  }
  __device__ void ban_all(const int32_t* ids, int64_t width) const {
    for (int64_t j = threadIdx.x; j < width; j += kThreads) ban(ids[j]);
  }

  // All loads before the first store, which might be to the same memory for all the compiler knows.
  __device__ void copy() const {
    constexpr int kEach = static_cast<int>(kSlice / kThreads);
    const int64_t own = first + static_cast<int64_t>(threadIdx.x) * (wide ? 4 : 1);
    if (wide) {
      float4 held[kEach / 4];
#pragma unroll
      for (int k = 0; k < kEach / 4; ++k) {
        const int64_t i = own + 4 * kThreads * k;
        if (i < last) held[k] = *reinterpret_cast<const float4*>(from + i);
      }
#pragma unroll
      for (int k = 0; k < kEach / 4; ++k) {
        const int64_t i = own + 4 * kThreads * k;
        if (i < last) *reinterpret_cast<float4*>(to + i) = held[k];
      }
    } else {
      float held[kEach];
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        const int64_t i = own + kThreads * k;
        held[k] = i < last ? from[i] : 0;
      }
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        const int64_t i = own + kThreads * k;
        if (i < last) to[i] = held[k];
      }
    }
  }

  __device__ void force(int64_t id) const {
    const float none = __int_as_float(0xFF800000);
    for (int64_t i = first + threadIdx.x; i < last; i += kThreads) to[i] = i == id ? 0 : none;
  }

  // Every id once: a round reads all of its logits before it writes any, so that an id that comes twice gets
  // the same value twice; ids of earlier rounds are looked for.
  __device__ void penalize(const int32_t* past, int64_t length, float penalty) const {
    for (int64_t base = 0; base < length; base += kThreads * kPastPerThread) {
      int64_t ids[kPastPerThread];
      float values[kPastPerThread];
#pragma unroll
      for (int k = 0; k < kPastPerThread; ++k) {
        const int64_t at = base + k * kThreads + threadIdx.x;
        ids[k] = at < length ? past[at] : -1;
        if (!has(ids[k])) ids[k] = -1;
        for (int64_t i = 0; i < base && ids[k] >= 0; ++i) {
          if (past[i] == ids[k]) ids[k] = -1;
        }
        const float x = ids[k] >= 0 ? from[ids[k]] : 0;
        values[k] = x > 0 ? x / penalty : x * penalty;
      }
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kPastPerThread; ++k) {
        if (ids[k] >= 0) to[ids[k]] = values[k];
      }
    }
  }

  __device__ void ban_ngrams(const int32_t* past, int64_t length, int64_t n) const {
    const int32_t* tail = past + length - (n - 1);
    for (int64_t i = threadIdx.x; i + n <= length; i += kThreads) {
      const int32_t last_id = past[i + n - 1];
      if (!has(last_id)) continue;
      int64_t same = 0;
      while (same < n - 1 && past[i + same] == tail[same]) ++same;
      if (same == n - 1) ban(last_id);
    }
  }
};

// A length beyond the history's capacity is taken as the capacity: nothing outside is read.
__global__ void __launch_bounds__(kThreads) penalties_kernel(const __grid_constant__ Call call) {
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x / call.slices;
  const int64_t sentence = row / call.beam;
  const int64_t first = blockIdx.x % call.slices * call.slice;
  const int64_t last = ::min(first + call.slice, call.vocabulary);
  const Slice slice{call.logits + row * call.vocabulary, call.out + row * call.vocabulary, first, last,
                    call.wide};
  const int64_t said = call.lengths[row];
  const float repetition = call.repetition[sentence];
  const int64_t ngram = call.ngram[sentence];
  const int64_t min_length = call.min_length[sentence];
  const int64_t forced = call.forced[sentence];
  if (forced >= 0 && forced < call.vocabulary) {
    slice.force(forced);
    return;
  }
  if (call.out != call.logits) {
    slice.copy();
    __syncthreads();
  }
  const int32_t* past = call.history + row * call.capacity;
  const int64_t length = ::min(said, call.capacity);
  if (repetition != 1) {
    slice.penalize(past, length, repetition);
    __syncthreads();
  }
  if (ngram > 0) slice.ban_ngrams(past, length, ngram);
  if (said < min_length) slice.ban_all(call.ends + sentence * call.ends_width, call.ends_width);
  slice.ban_all(call.suppressed + sentence * call.suppressed_width, call.suppressed_width);
}

void run_penalties(const KernelRun& run, int64_t beam) {
  const auto* logits = run.inputs[kLogits].as<float>();
  auto* out = run.outputs[0].as<float>();
  const int64_t rows = run.outputs[0].dim(0);
  const int64_t vocabulary = run.outputs[0].dim(1);
  if (rows == 0 || vocabulary == 0) return;
  const bool aligned =
      reinterpret_cast<uintptr_t>(logits) % 16 == 0 && reinterpret_cast<uintptr_t>(out) % 16 == 0;
  const auto ints = [&](Input input) { return run.inputs[input].as<int32_t>(); };
  Call call{logits,
            ints(kHistory),
            ints(kLengths),
            run.inputs[kRepetition].as<float>(),
            ints(kNgram),
            ints(kMinLength),
            ints(kEnds),
            ints(kSuppressed),
            ints(kForced),
            out,
            vocabulary,
            run.inputs[kHistory].dim(1),
            run.inputs[kEnds].dim(1),
            run.inputs[kSuppressed].dim(1),
            beam,
            out == logits ? vocabulary : kSlice,
            1,
            vocabulary % 4 == 0 && aligned};
  call.slices = (vocabulary + call.slice - 1) / call.slice;
  launch("search_penalties", penalties_kernel,
         {.grid = dim3(static_cast<unsigned>(rows * call.slices)), .block = dim3(kThreads), .overlap = true},
         run.stream, call);
}

}  // namespace

void add_search_penalties_cuda(KernelTable& table) {
  Kernel kernel;
  kernel.op = "search_penalties";
  kernel.device = DeviceKind::cuda;
  kernel.name = "search_penalties.f32";
  kernel.in_place = {{0, 0}};
  kernel.supports = [](const KernelSignature& s) {
    return s.inputs[kLogits] == DType::f32 && s.inputs[kRepetition] == DType::f32;
  };
  kernel.bind = [](const KernelCall& call) {
    const int64_t beam = call.attrs.integer("beam");
    return BoundKernel{0, [beam](const KernelRun& run) { run_penalties(run, beam); }, {}};
  };
  table.add(std::move(kernel));
}

}  // namespace floe
