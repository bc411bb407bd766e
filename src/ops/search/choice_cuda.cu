// search_choice on the GPU: beam_candidates with search_penalties before a part is looked at, by the block
// that looks, and beam_advance after the candidates are there, by a warp of the block that combines. What it
// keeps is written where search_keep would copy it.
#include "ops/search/advance_cuda.cuh"
#include "ops/search/candidates_cuda.cuh"
#include "ops/search/penalties_cuda.cuh"
#include "ops/search/search_kernel.h"

namespace floe {
namespace {

struct Choice {
  CandidatesCall candidates;
  PenaltiesCall penalties;
  AdvanceCall next;

  // Not inlined, so that options which most rows do not have cost the rest no registers.
  __device__ __noinline__ bool penalize(int64_t row, int64_t first, int64_t last) const {
    return penalize_part(penalties, row, first, last);
  }
  // What combining no longer needs of its memory holds the list of places.
  __device__ void advance(int64_t sentence) const {
    const CandidatesCall& c = candidates;
    TopKey* lists = c.merge_in_shared ? dynamic_keys : c.memory.row_lists + sentence * c.sizes.row_keys();
    __syncthreads();
    if (threadIdx.x < 32) advance_sentence(next, sentence, reinterpret_cast<int32_t*>(lists));
  }
};
static_assert(kPenaltyThreads == kTopThreads && kPenaltySlice >= kTopPart,
              "a part is penalized by the block that looks at it");

// Of search_choice. The first operands are those of search_penalties.
enum ChoiceInput { kScores = kForced + 1, kPhase, kKept };
enum ChoiceResult { kPenalized, kCandidates, kPicks = kCandidates + 4, kEnded, kNewKept };

AdvanceCall advance_call(const KernelRun& run, int64_t beam) {
  return {run.outputs[kCandidates].as<float>(),
          run.outputs[kCandidates + 1].as<int32_t>(),
          run.outputs[kCandidates + 2].as<int32_t>(),
          run.inputs[kEnds].as<int32_t>(),
          run.inputs[kPhase].as<int32_t>(),
          run.outputs[kNewKept].as<int32_t>(),
          run.outputs[kNewKept + 1].as<int32_t>(),
          run.outputs[kNewKept + 2].as<float>(),
          run.outputs[kPicks].as<int32_t>(),
          run.outputs[kEnded].as<int32_t>(),
          run.outputs[kPicks].dim(0),
          run.outputs[kCandidates].dim(1),
          run.inputs[kEnds].dim(1),
          beam,
          beam,
          run.outputs[kNewKept].dim(0)};
}

BoundKernel bind_choice(const KernelCall& call) {
  const CandidateSizes sizes =
      candidate_sizes(call.attrs, call.inputs[0].dim(1), call.outputs[kCandidates].dim(0));
  const bool together = sizes.workers == 1 || has_cluster_code<Choice>();
  return {
      CandidatesMemory::bytes(sizes), [sizes, together](const KernelRun& run) {
        static constexpr const char* kNames[] = {"search_choice", "search_choice (parts)",
                                                 "search_choice (combine)"};
        for (size_t k = 0; k < 3; ++k) {  // lines beyond the rows stay
          const View &from = run.inputs[kKept + k], &to = run.outputs[kNewKept + k];
          if (to.data == from.data || from.size() == 0) continue;
          FLOE_CUDA_CALL(cudaMemcpyAsync(to.data, from.data, static_cast<size_t>(from.size()) * 4,
                                         cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(run.stream)));
        }
        const Choice choice{candidates_call({run.outputs[kPenalized], run.inputs[kScores],
                                             run.outputs.subspan(kCandidates, 4)},
                                            run.workspace, sizes),
                            penalties_call(run, sizes.beam), advance_call(run, sizes.beam)};
        queue_candidates(choice, together, kNames, run.stream);
      }};
}

}  // namespace

void add_search_choice_cuda(KernelTable& table) {
  Kernel choice;
  choice.op = "search_choice";
  choice.device = DeviceKind::cuda;
  choice.name = "search_choice.f32";
  choice.supports = [](const KernelSignature& s) {
    return s.inputs[kLogits] == DType::f32 && s.inputs[kRepetition] == DType::f32 &&
           s.inputs[kScores] == DType::f32;
  };
  choice.bind = bind_choice;
  choice.in_place = {
      {kPenalized, kLogits}, {kNewKept, kKept}, {kNewKept + 1, kKept + 1}, {kNewKept + 2, kKept + 2}};
  table.add(std::move(choice));
}

}  // namespace floe
