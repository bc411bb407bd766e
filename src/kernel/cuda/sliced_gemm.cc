#include "kernel/cuda/sliced_gemm.h"

#include <algorithm>

#include "kernel/cuda/fold_parts.h"

namespace floe {
namespace {

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

std::unique_ptr<GemmPlan> plan_of(CudaGemmShape shape, int64_t batch, int64_t k) {
  shape.batch = batch;
  shape.k = k;
  shape.sums = GemmSums::none;
  auto plan = std::make_unique<GemmPlan>(shape);
  if (plan->choose(CUBLASLT_EPILOGUE_DEFAULT) != CUBLAS_STATUS_SUCCESS) return nullptr;
  return plan;
}

const char* moved(const void* at, int64_t elements, DType type) {
  return static_cast<const char*>(at) + static_cast<size_t>(elements) * size_of(type);
}

}  // namespace

std::unique_ptr<SlicedGemm> SlicedGemm::make(const CudaGemmShape& s) {
  const bool plain = !s.accumulate && !s.bias && s.activation == CudaActivation::none && s.batch == 1;
  if (!plain || !s.transpose_a || s.transpose_b || s.in != DType::bf16 || s.out != DType::f32) return nullptr;
  const KSlices cut = k_slices(s.m, s.n, s.k);
  if (cut.parts() == 1) return nullptr;
  std::unique_ptr<SlicedGemm> made(new SlicedGemm(s, cut));
  made->slices_ = plan_of(s, cut.count, cut.length);
  if (made->slices_ == nullptr) return nullptr;
  size_t library = made->slices_->workspace();
  if (cut.rest > 0) {
    made->rest_ = plan_of(s, 1, cut.rest);
    if (made->rest_ == nullptr) return nullptr;
    library = std::max(library, made->rest_->workspace());
  }
  if (s.sums != GemmSums::none) made->columns_ = {s.in, s.k, s.sums == GemmSums::of_a ? s.m : s.n};
  made->parts_at_ = aligned(library);
  made->sums_at_ = made->parts_at_ + aligned(static_cast<size_t>(cut.parts() * s.m * s.n) * sizeof(float));
  made->workspace_ = made->sums_at_ + made->columns_.bytes();
  return made;
}

void SlicedGemm::run(const CudaGemm::Operands& operands, void* workspace, cudaStream_t stream) const {
  const CudaGemmShape& s = shape_;
  auto* parts = reinterpret_cast<float*>(static_cast<char*>(workspace) + parts_at_);
  slices_->run({.a = operands.a, .b = operands.b, .c = parts}, workspace, stream);
  if (rest_ != nullptr) {
    const int64_t done = cut_.count * cut_.length;
    rest_->run({.a = moved(operands.a, done * s.m, s.in),
                .b = moved(operands.b, done * s.n, s.in),
                .c = parts + cut_.count * s.m * s.n},
               workspace, stream);
  }
  FoldParts fold{
      .parts = parts, .count = cut_.parts(), .elements = s.m * s.n, .to = static_cast<float*>(operands.c)};
  if (s.sums != GemmSums::none) {
    auto* slices = reinterpret_cast<float*>(static_cast<char*>(workspace) + sums_at_);
    sum_slices(columns_, s.sums == GemmSums::of_a ? operands.a : operands.b, slices, stream);
    fold.sum_slices = slices;
    fold.sum_count = columns_.count();
    fold.columns = columns_.columns;
    fold.sums = operands.sums;
  }
  fold.run(stream);
}

}  // namespace floe
