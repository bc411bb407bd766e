// C = A B on the GPU through cuBLASLt, row-major, accumulated in f32. One algorithm is chosen when the plan
// is made, by measuring the first that the library suggests (gemm_choices.h), never one that splits K over
// blocks (its sums would be added in another order for another M). A row's bits may still differ between
// plans of different M: see docs/numerics.md.
#pragma once
#include <cublasLt.h>

#include <cstdint>
#include <memory>
#include <span>

#include "tensor/dtype.h"

namespace floe {

struct CudaGemmShape {
  int64_t m = 0, n = 0, k = 0;
  int64_t batch = 1;
  bool transpose_a = false;  // A is stored [k, m]
  bool transpose_b = false;  // B is stored [n, k]
  DType in = DType::f32;     // f32 (no TF32) or bf16
  DType out = DType::f32;    // f32, or bf16 from bf16
  bool accumulate = false;   // C += A B
  bool bias = false;         // [n], of the type of C
  bool relu = false;
};

class CudaGemm {
 public:
  // Throws Error{device} when cuBLASLt cannot be loaded or has no algorithm.
  explicit CudaGemm(const CudaGemmShape& shape);
  ~CudaGemm();
  CudaGemm(const CudaGemm&) = delete;
  CudaGemm& operator=(const CudaGemm&) = delete;

  const CudaGemmShape& shape() const { return shape_; }
  size_t workspace() const { return workspace_; }
  // Pointers of elements of the shape's types; bias null without. Nothing is written when m, n or the batch
  // is 0; k = 0 gives zeros (or C as it is), without bias.
  void run(const void* a, const void* b, void* c, const void* bias, void* workspace, void* stream) const;

 private:
  struct Plan;
  int fastest(std::span<const cublasLtMatmulHeuristicResult_t> candidates) const;
  CudaGemmShape shape_;
  size_t workspace_ = 0;
  std::unique_ptr<Plan> plan_;  // null when there is nothing to multiply
};

}  // namespace floe
