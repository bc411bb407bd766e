// cuBLASLt, found at run time: a binary starts without it, and the first matrix product asks for it. Only the
// functions that are used.
#pragma once
#include <cublasLt.h>

#include <span>
#include <string>

namespace floe {

struct CublasLt {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulAlgoConfigGetAttribute) algorithm_get;
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

  // The functions of the first of these libraries that can be loaded; no handle. Throws Error{device} naming
  // what was tried, or the function that is missing.
  static CublasLt load(std::span<const std::string> names);

  // The process's, with its handle, made for the CUDA device that is current at the first call. Throws
  // Error{device}.
  static const CublasLt& get();
};

// Throws Error{device} unless `status` is CUBLAS_STATUS_SUCCESS.
void check_cublaslt(cublasStatus_t status, const char* what);

}  // namespace floe
