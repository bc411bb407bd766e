// beam_candidates on the GPU: a row is read once, in parts of 4,096 logits. A part gives its maximum, its sum
// of exponentials and its own C largest; one block of the sentence then combines them. The blocks of a
// sentence are a cluster, so that is one launch; where the device has no clusters it is two. Which block
// takes which part changes nothing: a row's numbers are combined in an order that depends on V alone.
//
// Within a row the larger logit goes first, also where both values round to one number; the CPU's kernel
// takes the lower id there. Equal logits go by id, equal values of different rows by place.
//
// The kernels' parameter, Whole, holds a CandidatesCall `candidates` and says what a block does besides:
//   bool penalize(row, first, last)  before it looks at those logits: have they been changed? The same for
//                                    every thread; if so it ends with a barrier
//   void advance(sentence)           when the candidates are there
#pragma once
#include <algorithm>
#include <span>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/top_few.cuh"
#include "kernel/cuda/top_keys.cuh"
#include "kernel/kernel.h"

namespace floe {
namespace {

constexpr unsigned kAll = 0xFFFFFFFFu;
constexpr int kWarps = kTopThreads / 32;
constexpr int kMostWorkers = 8;                    // the largest cluster that every device with clusters has
constexpr int kBlocksOnProcessor = 4;              // for which registers are left: 64 a thread
constexpr int64_t kFewBlocks = 128;                // no more than multiprocessors: latency is what counts
constexpr size_t kMostSharedForMerge = 96 * 1024;  // two blocks still fit on an H100's multiprocessor

struct alignas(8) PartStats {
  float most;  // +inf also where the part has NaN
  float sum;   // of exp(x - most)
};

// log-probability of x = (x - most) - log_sum; most is NaN for a row that gives no candidates.
struct RowStats {
  float most;
  float log_sum;
  float score;
};

struct CandidateSizes {
  int64_t sentences;
  int64_t vocabulary;
  int beam;
  int candidates;
  int parts;    // of a row, at least 1
  int length;   // of a part's list
  int workers;  // blocks a sentence

  int64_t rows() const { return sentences * beam; }
  __host__ __device__ int part_keys() const { return beam * parts * length; }  // of a sentence
  __host__ __device__ int row_keys() const { return beam * candidates; }
  // What the combining block works on: the parts' lists, the rows' lists by logit and by value, statistics.
  size_t merge_bytes() const {
    return (static_cast<size_t>(part_keys()) + 2 * static_cast<size_t>(row_keys())) * sizeof(TopKey) +
           static_cast<size_t>(beam) * sizeof(RowStats);
  }
  bool merge_in_shared() const { return merge_bytes() <= kMostSharedForMerge; }
  size_t pool_bytes() const {
    return static_cast<size_t>(std::max(std::min(length, kTopRound) * kTopItems, kTopFewPool)) *
           sizeof(TopKey);
  }
};

struct CandidatesMemory {
  TopKey* part_lists;     // [rows, parts, length]
  TopKey* row_lists;      // [rows, C]; this and the next two only where they do not fit in shared memory
  TopKey* value_lists;    // [rows, C]
  RowStats* rows;         // [rows]
  PartStats* part_stats;  // [rows, parts]

  CandidatesMemory(void* workspace, const CandidateSizes& sizes) {
    const int64_t outside = sizes.merge_in_shared() ? 0 : sizes.rows();
    part_lists = static_cast<TopKey*>(workspace);
    row_lists = part_lists + sizes.sentences * sizes.part_keys();
    value_lists = row_lists + outside * sizes.candidates;
    part_stats = reinterpret_cast<PartStats*>(value_lists + outside * sizes.candidates);
    rows = reinterpret_cast<RowStats*>(part_stats + sizes.rows() * sizes.parts);
  }
  static size_t bytes(const CandidateSizes& sizes) {
    const int64_t outside = sizes.merge_in_shared() ? 0 : sizes.rows();
    return static_cast<size_t>(sizes.sentences * sizes.part_keys() + 2 * outside * sizes.candidates) *
               sizeof(TopKey) +
           static_cast<size_t>(sizes.rows() * sizes.parts) * sizeof(PartStats) +
           static_cast<size_t>(outside) * sizeof(RowStats);
  }
};

struct CandidatesCall {
  const float* logits;
  const float* scores;
  float* values;
  int32_t* tokens;
  int32_t* parents;
  float* log_probs;
  CandidatesMemory memory;
  CandidateSizes sizes;
  bool wide;
  bool merge_in_shared;
  bool ask_early;  // for a row's logits, before it is known to be alive
};

struct CandidatesShared {
  TopFewScratch few;
  TopScratch scratch;
  float sums[kWarps];
  int found;
  int faulty;
};

extern __shared__ TopKey dynamic_keys[];

__device__ inline float infinity() { return __int_as_float(0x7F800000); }

// The sum of 32 lanes, in every lane.
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kAll, x, step));
  return x;
}

// Ends with a barrier, or has none after the penalties'.
template <class Whole>
__device__ void look_at_part(const Whole& whole, int64_t row, int part, CandidatesShared& shared) {
  const CandidatesCall& call = whole.candidates;
  const int64_t base = static_cast<int64_t>(part) * kTopPart;
  const int count = part_count(call.sizes.vocabulary, base);
  const int length = call.sizes.length;
  const float* logits = call.logits + row * call.sizes.vocabulary + base;
  float x[kTopItems];
  if (call.ask_early) load_part(logits, count, call.wide, -infinity(), x);
  const bool changed = whole.penalize(row, base, base + count);
  // A row that is not alive has no lists that anybody looks at; the same for every thread.
  if (call.scores[row] == -infinity()) return;
  if (!call.ask_early || changed) load_part(logits, count, call.wide, -infinity(), x);

  const float own = thread_max(x);
  const TopFewBound top = block_bound(own, ::min(length, kTopFew), shared.few);
  // Of nothing but -inf the exponentials are 0; one NaN makes the sum NaN.
  const float subtracted = top.most == -infinity() ? 0 : top.most;
  float sum = 0;
#pragma unroll
  for (int item = 0; item < kTopItems; ++item) sum += expf(x[item] - subtracted);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) shared.sums[threadIdx.x / 32] = sum;

  const int64_t at = row * call.sizes.parts + part;
  TopKey* list = call.memory.part_lists + at * length;
  const auto first = static_cast<uint32_t>(base);
  if (length > kTopFew || !block_top_few(x, own, top.bound, first, length, shared.few, dynamic_keys, list)) {
    uint32_t ordered[kTopItems];  // 0: forbidden
#pragma unroll
    for (int item = 0; item < kTopItems; ++item) {
      ordered[item] = x[item] > -infinity() ? ordered_bits(x[item]) : 0;
    }
    block_top_list(ordered, first, length, shared.scratch, dynamic_keys, list);
  }
  if (threadIdx.x == 0) {  // both ways to the list have a barrier
    sum = 0;
    for (int k = 0; k < kWarps; ++k) sum += shared.sums[k];
    call.memory.part_stats[at] = {sum < infinity() ? top.most : infinity(), sum};
  }
  __syncthreads();
}

// By one warp; lane k begins with part k, so that one load brings what most rows have.
__device__ inline RowStats combine_parts(const CandidatesCall& call, int64_t row, CandidatesShared& shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int parts = call.sizes.parts;
  const auto* stats = reinterpret_cast<const float2*>(call.memory.part_stats + row * parts);
  const float score = call.scores[row];
  const float2 own = lane < parts ? __ldcg(stats + lane) : make_float2(-infinity(), 0);
  const RowStats none{__int_as_float(0x7FC00000), 0, score};
  if (score == -infinity()) return none;
  float most = own.x;
  for (int k = lane + 32; k < parts; k += 32) most = fmaxf(most, __ldcg(stats + k).x);
  most = warp_max(most);
  if (most == infinity() || !isfinite(score)) {
    if (lane == 0) shared.faulty = 1;
    return none;
  }
  if (most == -infinity()) return none;
  float sum = own.x > -infinity() ? own.y * expf(own.x - most) : 0;
  for (int k = lane + 32; k < parts; k += 32) {
    const float2 other = __ldcg(stats + k);
    if (other.x > -infinity()) sum += other.y * expf(other.x - most);
  }
  return {most, logf(warp_sum(sum)), score};
}

// The sentence's candidates from its parts, by one block.
__device__ inline void combine(const CandidatesCall& call, int64_t sentence, CandidatesShared& shared) {
  const CandidateSizes& sizes = call.sizes;
  const int thread = static_cast<int>(threadIdx.x);
  const int part_keys = sizes.part_keys();
  const int row_keys = sizes.row_keys();
  const int64_t first_row = sentence * sizes.beam;
  TopKey* part_lists = call.memory.part_lists + sentence * part_keys;
  TopKey* row_lists = call.memory.row_lists + sentence * row_keys;
  TopKey* value_lists = call.memory.value_lists + sentence * row_keys;
  RowStats* rows = call.memory.rows + first_row;
  if (thread == 0) shared.found = shared.faulty = 0;
  const TopKey* from = part_lists;
  // Asked for beside what combine_parts reads.
  const bool has_key = call.merge_in_shared && thread < part_keys;
  const TopKey first_key = has_key ? __ldcg(from + thread) : 0;
  if (call.merge_in_shared) {
    part_lists = dynamic_keys;
    row_lists = part_lists + part_keys;
    value_lists = row_lists + row_keys;
    rows = reinterpret_cast<RowStats*>(value_lists + row_keys);
  }
  __syncthreads();  // until here dynamic_keys was the pool
  for (int place = thread / 32; place < sizes.beam; place += kWarps) {
    const RowStats stats = combine_parts(call, first_row + place, shared);
    if (thread % 32 == 0) rows[place] = stats;
  }
  for (int i = thread; i < row_keys; i += kTopThreads) row_lists[i] = 0;
  if (call.merge_in_shared) {
    if (has_key) part_lists[thread] = first_key;
    for (int i = thread + kTopThreads; i < part_keys; i += kTopThreads) part_lists[i] = __ldcg(from + i);
  }
  __syncthreads();

  // Each row's best by logit.
  const int keys_of_row = sizes.parts * sizes.length;
  for (int i = thread; i < part_keys; i += kTopThreads) {
    const int place = i / keys_of_row;
    const TopKey* lists = part_lists + place * keys_of_row;
    if (rows[place].most != rows[place].most) continue;
    const TopKey key = part_lists[i];
    if (key < kFirstKey) continue;
    const int64_t rank = count_above(lists, sizes.parts, sizes.length, key);
    if (rank < sizes.candidates) row_lists[place * sizes.candidates + rank] = key;
  }
  __syncthreads();

  // The same by value, which falls with the logit. The index is the place in the lists, so that equal values
  // go by place and then as in their row.
  for (int i = thread; i < row_keys; i += kTopThreads) {
    const TopKey key = row_lists[i];
    const RowStats& row = rows[i / sizes.candidates];
    const float value = row.score + ((number_of(key) - row.most) - row.log_sum);
    const bool is_candidate = key >= kFirstKey && value > -infinity();
    value_lists[i] = is_candidate ? top_key(ordered_bits(value), static_cast<uint32_t>(i)) : 0;
    if (is_candidate) atomicAdd(&shared.found, 1);
  }
  __syncthreads();

  const int64_t out = sentence * sizes.candidates;
  for (int i = thread; i < row_keys; i += kTopThreads) {
    const TopKey key = value_lists[i];
    if (key < kFirstKey) continue;
    const int64_t rank = count_above(value_lists, sizes.beam, sizes.candidates, key);
    if (rank >= sizes.candidates) continue;
    const int place = i / sizes.candidates;
    call.values[out + rank] = number_of(key);
    call.tokens[out + rank] = static_cast<int32_t>(index_of(row_lists[i]));
    call.parents[out + rank] = place;
    call.log_probs[out + rank] = (number_of(row_lists[i]) - rows[place].most) - rows[place].log_sum;
  }
  for (int i = shared.found + thread; i < sizes.candidates; i += kTopThreads) {
    call.values[out + i] = shared.faulty != 0 ? __int_as_float(0x7FC00000) : -infinity();
    call.tokens[out + i] = -1;
    call.parents[out + i] = -1;
    call.log_probs[out + i] = -infinity();
  }
}

// All threads of a cluster wait here; what any of them wrote before is seen by all after.
__device__ inline void cluster_barrier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// kTogether: the blocks of a sentence are a cluster, or one.
template <bool kTogether, class Whole>
__global__ void __launch_bounds__(kTopThreads, kBlocksOnProcessor)
    candidates_kernel(const __grid_constant__ Whole whole) {
  __shared__ CandidatesShared shared;
  let_next_start();
  wait_for_previous();
  const CandidateSizes& sizes = whole.candidates.sizes;
  const int64_t sentence = blockIdx.x / sizes.workers;
  const int worker = static_cast<int>(blockIdx.x % sizes.workers);
  for (int i = worker; i < sizes.beam * sizes.parts; i += sizes.workers) {
    look_at_part(whole, sentence * sizes.beam + i / sizes.parts, i % sizes.parts, shared);
  }
  if constexpr (kTogether) {
    if (sizes.workers > 1) cluster_barrier();
    if (worker == 0) {
      combine(whole.candidates, sentence, shared);
      whole.advance(sentence);
    }
  }
}

template <class Whole>
__global__ void __launch_bounds__(kTopThreads) combine_kernel(const __grid_constant__ Whole whole) {
  __shared__ CandidatesShared shared;
  let_next_start();
  wait_for_previous();
  combine(whole.candidates, blockIdx.x, shared);
  whole.advance(blockIdx.x);
}

// Operands and results of beam_candidates.
struct CandidateViews {
  const View &logits, &scores;
  std::span<const View> results;  // values, tokens, parents, log_probs
};

inline CandidatesCall candidates_call(const CandidateViews& views, void* workspace,
                                      const CandidateSizes& sizes) {
  const auto* logits = views.logits.as<float>();
  return {logits,
          views.scores.as<float>(),
          views.results[0].as<float>(),
          views.results[1].as<int32_t>(),
          views.results[2].as<int32_t>(),
          views.results[3].as<float>(),
          CandidatesMemory(workspace, sizes),
          sizes,
          sizes.vocabulary % 4 == 0 && reinterpret_cast<uintptr_t>(logits) % 16 == 0,
          sizes.merge_in_shared(),
          sizes.sentences * sizes.workers <= kFewBlocks};
}

template <class Whole>
void queue_candidates(const Whole& whole, bool together, const char* const (&names)[3], void* stream) {
  const CandidateSizes& sizes = whole.candidates.sizes;
  const size_t merge = whole.candidates.merge_in_shared ? sizes.merge_bytes() : 0;
  LaunchShape parts{.grid = dim3(static_cast<unsigned>(sizes.sentences * sizes.workers)),
                    .block = dim3(kTopThreads),
                    .shared_bytes = sizes.pool_bytes(),
                    .overlap = true};
  if (together) {
    parts.shared_bytes = std::max(parts.shared_bytes, merge);
    parts.cluster = static_cast<unsigned>(sizes.workers);
    launch(names[0], candidates_kernel<true, Whole>, parts, stream, whole);
    return;
  }
  launch(names[1], candidates_kernel<false, Whole>, parts, stream, whole);
  launch(names[2], combine_kernel<Whole>,
         {.grid = dim3(static_cast<unsigned>(sizes.sentences)),
          .block = dim3(kTopThreads),
          .shared_bytes = merge,
          .overlap = true},
         stream, whole);
}

// Whether this device runs code of the build that has the cluster barrier in it.
template <class Whole>
bool has_cluster_code() {
  cudaFuncAttributes attributes{};
  FLOE_CUDA_CALL(cudaFuncGetAttributes(&attributes, candidates_kernel<true, Whole>));
  return attributes.ptxVersion >= 90;
}

inline CandidateSizes candidate_sizes(const Attrs& attrs, int64_t vocabulary, int64_t sentences) {
  const int64_t beam = attrs.integer("beam");
  const int64_t candidates = attrs.integer("candidates");
  const int64_t parts = std::max<int64_t>(1, (vocabulary + kTopPart - 1) / kTopPart);
  const int64_t length = std::min<int64_t>(candidates, kTopPart);
  constexpr int64_t kMost = 0x7FFFFFFF;
  if (beam > kMost / candidates || beam * parts > kMost / length || sentences > kMost / kMostWorkers) {
    check_cuda(cudaErrorInvalidValue, "beam_candidates with 2^31 or more keys a sentence, or blocks");
  }
  int64_t workers = 1;
  while (workers * 2 <= std::min<int64_t>(kMostWorkers, beam * parts)) workers *= 2;
  return {sentences,
          vocabulary,
          static_cast<int>(beam),
          static_cast<int>(candidates),
          static_cast<int>(parts),
          static_cast<int>(length),
          static_cast<int>(workers)};
}

}  // namespace
}  // namespace floe
