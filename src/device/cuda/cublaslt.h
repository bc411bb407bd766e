// cuBLASLt, found at run time: a binary starts without it, and the first matrix product asks for it.
#pragma once
#include <cublasLt.h>

namespace floe {

struct CublasLt {
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtGetStatusString) status_text;
  cublasLtHandle_t handle;

  // Throws Error{device} naming the library or function that is missing.
  static const CublasLt& get();
};

// Throws Error{device} unless `status` is CUBLAS_STATUS_SUCCESS.
void check_cublaslt(cublasStatus_t status, const char* what);

}  // namespace floe
