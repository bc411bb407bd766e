// C = A^T B with k cut into slices: one product of all slices, one of the rest, each to a part of its own in
// f32, and a pass that adds the parts in order. Behind gemm.h.
#pragma once
#include <memory>

#include "kernel/cuda/column_sums.h"
#include "kernel/cuda/gemm_plan.h"
#include "kernel/cuda/k_slices.h"

namespace floe {

class SlicedGemm {
 public:
  // Null where cutting does not help, the slices do not lie one after the other, or the library cannot.
  static std::unique_ptr<SlicedGemm> make(const CudaGemmShape& shape);

  size_t workspace() const { return workspace_; }
  void run(const CudaGemm::Operands& operands, void* workspace, cudaStream_t stream) const;

 private:
  SlicedGemm(const CudaGemmShape& shape, const KSlices& cut) : shape_(shape), cut_(cut) {}

  CudaGemmShape shape_;
  KSlices cut_;
  std::unique_ptr<GemmPlan> slices_, rest_;
  ColumnSlices columns_;  // of the operand that is summed
  size_t parts_at_ = 0, sums_at_ = 0, workspace_ = 0;
};

}  // namespace floe
