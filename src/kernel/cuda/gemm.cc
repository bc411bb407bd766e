#include "kernel/cuda/gemm.h"

#include "base/error.h"
#include "device/cuda/check.h"
#include "kernel/cuda/gemm_plan.h"

namespace floe {

CudaGemm::CudaGemm(const CudaGemmShape& shape) : shape_(shape) {
  const CudaGemmShape& s = shape_;
  FLOE_CHECK(!s.accumulate || (!s.bias && s.activation == CudaActivation::none),
             "a product that adds to C has no bias or activation");
  bias_after_ = s.bias;
  activation_after_ = s.activation;
  if (s.m == 0 || s.n == 0 || s.k == 0 || s.batch == 0) return;
  plan_ = std::make_unique<GemmPlan>(s);
  // cuBLASLt's GELU is not taken: the error of its tanh is not stated.
  const bool relu = s.activation == CudaActivation::relu;
  const cublasLtEpilogue_t epilogue = s.bias && relu ? CUBLASLT_EPILOGUE_RELU_BIAS
                                      : s.bias       ? CUBLASLT_EPILOGUE_BIAS
                                      : relu         ? CUBLASLT_EPILOGUE_RELU
                                                     : CUBLASLT_EPILOGUE_DEFAULT;
  cublasStatus_t status = plan_->choose(epilogue);
  if (status == CUBLAS_STATUS_SUCCESS) {
    bias_after_ = false;
    if (relu) activation_after_ = CudaActivation::none;
  } else if (epilogue != CUBLASLT_EPILOGUE_DEFAULT) {
    status = plan_->choose(CUBLASLT_EPILOGUE_DEFAULT);
  }
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw Error(
        ErrorKind::device,
        fmt::format("cuBLASLt has no algorithm for {} x [{}, {}] x [{}, {}], {} to {}: {}", s.batch, s.m, s.k,
                    s.k, s.n, name_of(s.in), name_of(s.out), CublasLt::get().status_text(status)));
  }
  workspace_ = plan_->workspace();
}

CudaGemm::~CudaGemm() = default;

void CudaGemm::run(const Operands& operands, void* workspace, void* stream) const {
  const CudaGemmShape& s = shape_;
  if (plan_ == nullptr) {
    const size_t bytes = static_cast<size_t>(s.batch * s.m * s.n) * size_of(s.out);
    if (bytes > 0 && !s.accumulate) {
      FLOE_CUDA_CALL(cudaMemsetAsync(operands.c, 0, bytes, static_cast<cudaStream_t>(stream)));
    }
  } else {
    plan_->run(operands, workspace, static_cast<cudaStream_t>(stream));
  }
  if (!bias_after_ && activation_after_ == CudaActivation::none) return;
  apply_activation({.activation = activation_after_,
                    .type = s.out,
                    .x = operands.c,
                    .bias = bias_after_ ? operands.bias : nullptr,
                    .rows = s.batch * s.m,
                    .columns = s.n},
                   stream);
}

}  // namespace floe
