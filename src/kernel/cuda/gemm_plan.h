// One product as cuBLASLt describes it, and the algorithm it takes. Behind gemm.h.
#pragma once
#include <cublasLt.h>

#include <span>
#include <string>

#include "device/cuda/cublaslt.h"
#include "kernel/cuda/gemm.h"

namespace floe {

// A matrix as cuBLASLt counts: `rows` lie side by side in memory.
struct StoredMatrix {
  DType type;
  int64_t rows, columns;
};

class MatrixLayout {
 public:
  MatrixLayout(const StoredMatrix& m, int64_t batch);  // one matrix after the other
  ~MatrixLayout() { CublasLt::get().layout_destroy(handle_); }
  MatrixLayout(const MatrixLayout&) = delete;
  MatrixLayout& operator=(const MatrixLayout&) = delete;
  cublasLtMatrixLayout_t get() const { return handle_; }

 private:
  template <class T>
  void set(cublasLtMatrixLayoutAttribute_t attribute, T value);
  cublasLtMatrixLayout_t handle_ = nullptr;
};

// Everything that a choice between algorithms depends on.
std::string key_of(const CudaGemmShape& shape, cublasLtEpilogue_t epilogue);

// cuBLASLt counts in columns, so it is given the transposed product: C' = B' A'. Its first operand, which it
// calls A, is our B; its second our A; its rows of the result are our columns.
class GemmPlan {
 public:
  explicit GemmPlan(const CudaGemmShape& shape);
  ~GemmPlan() { CublasLt::get().desc_destroy(desc_); }
  GemmPlan(const GemmPlan&) = delete;
  GemmPlan& operator=(const GemmPlan&) = delete;

  // The fastest algorithm that has this epilogue, of the first that the library suggests and that do not
  // split K, nor vary; measured once for each shape and card (gemm_choices.h). What it is when there is none.
  cublasStatus_t choose(cublasLtEpilogue_t epilogue);
  size_t workspace() const { return workspace_; }

  // `operands` as CudaGemm::run; the bias is read, or the sums written, when the epilogue has them.
  void run(const CudaGemm::Operands& operands, void* workspace, cudaStream_t stream);

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value);
  cublasStatus_t start(const CudaGemm::Operands& operands, const cublasLtMatmulAlgo_t& algorithm,
                       void* workspace, size_t bytes, cudaStream_t stream);
  int fastest(std::span<const cublasLtMatmulHeuristicResult_t> candidates);

  const CudaGemmShape shape_;
  const StoredMatrix first_, second_, result_;  // B', A', C'
  const MatrixLayout first_layout_, second_layout_, result_layout_;
  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtEpilogue_t epilogue_ = CUBLASLT_EPILOGUE_DEFAULT;
  cublasLtMatmulAlgo_t algorithm_{};
  size_t workspace_ = 0;
};

}  // namespace floe
