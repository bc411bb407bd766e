// beam_candidates on the GPU (candidates_cuda.cuh).
#include "ops/search/candidates_cuda.cuh"
#include "ops/search/search_kernel.h"

namespace floe {
namespace {

struct Alone {
  CandidatesCall candidates;

  __device__ bool penalize(int64_t, int64_t, int64_t) const { return false; }
  __device__ void advance(int64_t) const {}
};

BoundKernel bind_candidates(const KernelCall& call) {
  const CandidateSizes sizes = candidate_sizes(call.attrs, call.inputs[0].dim(1), call.outputs[0].dim(0));
  const bool together = sizes.workers == 1 || has_cluster_code<Alone>();
  return {
      CandidatesMemory::bytes(sizes), [sizes, together](const KernelRun& run) {
        static constexpr const char* kNames[] = {"beam_candidates", "beam_candidates (parts)",
                                                 "beam_candidates (combine)"};
        const Alone alone{candidates_call({run.inputs[0], run.inputs[1], run.outputs}, run.workspace, sizes)};
        queue_candidates(alone, together, kNames, run.stream);
      }};
}

}  // namespace

void add_beam_candidates_cuda(KernelTable& table) {
  Kernel kernel;
  kernel.op = "beam_candidates";
  kernel.device = DeviceKind::cuda;
  kernel.name = "beam_candidates.f32";
  kernel.supports = [](const KernelSignature& s) {
    return s.inputs[0] == DType::f32 && s.inputs[1] == DType::f32;
  };
  kernel.bind = bind_candidates;
  table.add(std::move(kernel));
}

}  // namespace floe
