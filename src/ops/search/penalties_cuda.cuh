// search_penalties by a block over a slice of a row: the kernel of its own (penalties_cuda.cu), and what
// search_choice does before it looks at a part of a row (beam_cuda.cu).
#pragma once
#include <cstdint>

#include "kernel/kernel.h"

namespace floe {

enum PenaltyInput {
  kLogits,
  kHistory,
  kLengths,
  kRepetition,
  kNgram,
  kMinLength,
  kEnds,
  kSuppressed,
  kForced
};

constexpr int kPenaltyThreads = 256;
constexpr int kPastPerThread = 4;
constexpr int64_t kPenaltySlice = 4096;  // 16 a thread: four loads of 16 bytes under way

struct PenaltiesCall {
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
  bool wide;
};

// Of search_penalties' operands, the first of `run`.
inline PenaltiesCall penalties_call(const KernelRun& run, int64_t beam) {
  const auto ints = [&](PenaltyInput input) { return run.inputs[input].as<int32_t>(); };
  const auto* logits = run.inputs[kLogits].as<float>();
  auto* out = run.outputs[0].as<float>();
  const bool aligned =
      reinterpret_cast<uintptr_t>(logits) % 16 == 0 && reinterpret_cast<uintptr_t>(out) % 16 == 0;
  const int64_t vocabulary = run.outputs[0].dim(1);
  return {logits,
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
          vocabulary % 4 == 0 && aligned};
}

// What a row's options are.
struct PenaltyOptions {
  int64_t said, ngram, min_length, forced;
  float repetition;

  __device__ PenaltyOptions(const PenaltiesCall& call, int64_t row) {
    const int64_t sentence = row / call.beam;
    said = call.lengths[row];
    repetition = call.repetition[sentence];
    ngram = call.ngram[sentence];
    min_length = call.min_length[sentence];
    forced = call.forced[sentence];
  }
};

// The block's part of a row's logits.
struct PenaltySlice {
  const float* from;
  float* to;
  int64_t first, last;
  bool wide;

  __device__ bool has(int64_t id) const { return id >= first && id < last; }
  __device__ void ban(int64_t id) const {
    if (has(id)) to[id] = __int_as_float(0xFF800000);
  }
  __device__ void ban_all(const int32_t* ids, int64_t width) const {
    for (int64_t j = threadIdx.x; j < width; j += kPenaltyThreads) ban(ids[j]);
  }

  // All loads before the first store, which might be to the same memory for all the compiler knows.
  __device__ void copy() const {
    constexpr int kEach = static_cast<int>(kPenaltySlice / kPenaltyThreads);
    const int64_t own = first + static_cast<int64_t>(threadIdx.x) * (wide ? 4 : 1);
    if (wide) {
      float4 held[kEach / 4];
#pragma unroll
      for (int k = 0; k < kEach / 4; ++k) {
        const int64_t i = own + 4 * kPenaltyThreads * k;
        if (i < last) held[k] = *reinterpret_cast<const float4*>(from + i);
      }
#pragma unroll
      for (int k = 0; k < kEach / 4; ++k) {
        const int64_t i = own + 4 * kPenaltyThreads * k;
        if (i < last) *reinterpret_cast<float4*>(to + i) = held[k];
      }
    } else {
      float held[kEach];
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        const int64_t i = own + kPenaltyThreads * k;
        held[k] = i < last ? from[i] : 0;
      }
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        const int64_t i = own + kPenaltyThreads * k;
        if (i < last) to[i] = held[k];
      }
    }
  }

  __device__ void force(int64_t id) const {
    const float none = __int_as_float(0xFF800000);
    for (int64_t i = first + threadIdx.x; i < last; i += kPenaltyThreads) to[i] = i == id ? 0 : none;
  }

  // Every id once: a round reads all of its logits before it writes any, so that an id that comes twice gets
  // the same value twice; ids of earlier rounds are looked for.
  __device__ void penalize(const int32_t* past, int64_t length, float penalty) const {
    for (int64_t base = 0; base < length; base += kPenaltyThreads * kPastPerThread) {
      int64_t ids[kPastPerThread];
      float values[kPastPerThread];
#pragma unroll
      for (int k = 0; k < kPastPerThread; ++k) {
        const int64_t at = base + k * kPenaltyThreads + threadIdx.x;
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
    for (int64_t i = threadIdx.x; i + n <= length; i += kPenaltyThreads) {
      const int32_t last_id = past[i + n - 1];
      if (!has(last_id)) continue;
      int64_t same = 0;
      while (same < n - 1 && past[i + same] == tail[same]) ++same;
      if (same == n - 1) ban(last_id);
    }
  }
};

// Logits first .. last - 1 of a row, by a block. A length beyond the history's capacity is taken as the
// capacity: nothing outside is read.
__device__ inline void apply_penalties(const PenaltiesCall& call, const PenaltyOptions& options, int64_t row,
                                       int64_t first, int64_t last) {
  const int64_t sentence = row / call.beam;
  const PenaltySlice slice{call.logits + row * call.vocabulary, call.out + row * call.vocabulary, first, last,
                           call.wide};
  if (options.forced >= 0 && options.forced < call.vocabulary) {
    slice.force(options.forced);
    return;
  }
  if (call.out != call.logits) {
    slice.copy();
    __syncthreads();
  }
  const int32_t* past = call.history + row * call.capacity;
  const int64_t length = ::min(options.said, call.capacity);
  if (options.repetition != 1) {
    slice.penalize(past, length, options.repetition);
    __syncthreads();
  }
  if (options.ngram > 0) slice.ban_ngrams(past, length, options.ngram);
  if (options.said < options.min_length)
    slice.ban_all(call.ends + sentence * call.ends_width, call.ends_width);
  slice.ban_all(call.suppressed + sentence * call.suppressed_width, call.suppressed_width);
}

// The same for a part of a row, at most kPenaltySlice logits, by a block that reads it next. False, the same
// for every thread: nothing was to be changed. Otherwise it ends with a barrier.
__device__ inline bool penalize_part(const PenaltiesCall& call, int64_t row, int64_t first, int64_t last) {
  const PenaltyOptions options(call, row);
  const int32_t* suppressed = call.suppressed + row / call.beam * call.suppressed_width;
  bool changes = call.out != call.logits || options.repetition != 1 || options.ngram > 0 ||
                 options.said < options.min_length ||
                 (options.forced >= 0 && options.forced < call.vocabulary);
  if (call.suppressed_width > 0) {
    bool named = false;
    for (int64_t j = threadIdx.x; j < call.suppressed_width; j += kPenaltyThreads)
      named = named || (suppressed[j] >= first && suppressed[j] < last);
    changes = __syncthreads_or(named || changes) != 0;
  }
  if (!changes) return false;
  apply_penalties(call, options, row, first, last);
  __syncthreads();
  return true;
}

}  // namespace floe
