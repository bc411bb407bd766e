// C = activation(A B + bias) on the GPU through cuBLASLt, row-major, accumulated in f32 without TF32.
//
// The algorithm is chosen when the plan is made: the fastest, measured once and remembered, of the first that
// the library suggests and that do not split K over blocks.
// Without such a split an element's sum depends neither on the blocks' order nor on what else runs, so the
// same plan gives the same bits at every run, and a row's bits do not depend on the other rows' values. Plans
// of different M may have different algorithms, and a row other bits: where that matters, row_gemm.h.
//
// The library's kernels for few elements of C (vectors, a few columns) split k without saying so: up to
// SmallGemm::kElements the product is our own, and above, as far as a C is worth splitting for
// (gemm_trial.h), an algorithm whose bits vary from run to run when it is measured is not taken.
#pragma once
#include <cstdint>
#include <memory>

#include "kernel/cuda/activation.h"
#include "kernel/cuda/column_sums.h"
#include "tensor/dtype.h"

namespace floe {

// Sums over k of an operand's elements, beside the product: with dW = dY^T X, that of dY is a bias's
// gradient.
enum class GemmSums { none, of_a, of_b };

struct CudaGemmShape {
  int64_t m = 0, n = 0, k = 0;
  int64_t batch = 1;         // products that lie one after the other
  bool transpose_a = false;  // A is stored [k, m]
  bool transpose_b = false;  // B is stored [n, k]
  DType in = DType::f32;     // f32 or bf16
  DType out = DType::f32;    // f32, or bf16 from bf16
  bool accumulate = false;   // C += A B; no bias or activation then
  bool bias = false;         // [n], of the type of C
  CudaActivation activation = CudaActivation::none;
  // f32 [m] of A, stored [k, m], or [n] of B, stored [k, n]; of one plain product to f32.
  GemmSums sums = GemmSums::none;
};

class GemmPlan;
class SlicedGemm;

class CudaGemm {
 public:
  // Throws Error{device} when cuBLASLt cannot be loaded or has no algorithm.
  explicit CudaGemm(const CudaGemmShape& shape);
  ~CudaGemm();
  CudaGemm(const CudaGemm&) = delete;
  CudaGemm& operator=(const CudaGemm&) = delete;

  const CudaGemmShape& shape() const { return shape_; }
  // At most 32 MiB for the library, 32 MiB for parts of C, and the slices of sums: 1/128 of a bf16 operand.
  size_t workspace() const { return workspace_; }

  struct Operands {
    const void* a;
    const void* b;
    void* c;
    const void* bias = nullptr;
    float* sums = nullptr;
  };
  // Matrices and workspace aligned to 16 and 256 bytes at least. k = 0 is a product of zeros.
  void run(const Operands& operands, void* workspace, void* stream) const;

 private:
  void plan_sums();
  void choose_way(std::unique_ptr<GemmPlan> together, std::unique_ptr<SlicedGemm> sliced);

  CudaGemmShape shape_;
  size_t workspace_ = 0;
  std::unique_ptr<GemmPlan> plan_;      // null when C is small or there is nothing to multiply
  std::unique_ptr<SlicedGemm> sliced_;  // does everything, where there is one
  // What the product's epilogue does not do is done by a pass over C.
  bool bias_after_ = false;
  CudaActivation activation_after_ = CudaActivation::none;
  bool sums_after_ = false;
  ColumnSlices slices_;   // of the operand that is summed
  size_t slices_at_ = 0;  // in the workspace
};

}  // namespace floe
