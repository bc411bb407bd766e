#include "device/cuda/cublaslt.h"

#include <dlfcn.h>

#include "base/error.h"
#include "device/cuda/libraries.h"

namespace floe {
namespace {

void* open_library(std::span<const std::string> names) {
  std::string tried;
  for (const std::string& name : names) {
    // Never unloaded: the handle lives as long as the process.
    if (void* library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    tried += (tried.empty() ? "" : ", ") + name;
  }
  throw Error(
      ErrorKind::device,
      fmt::format("cuBLASLt of CUDA 13, which multiplies matrices on the GPU, was not found; tried {}. "
                  "Set CUDA_HOME or LD_LIBRARY_PATH to where libcublasLt.so.13 is",
                  tried));
}

template <class F>
void find(void* library, const char* name, F* function) {
  *function = reinterpret_cast<F>(::dlsym(library, name));
  if (*function == nullptr) {
    throw Error(ErrorKind::device, fmt::format("cuBLASLt as found has no function '{}'", name));
  }
}

CublasLt make() {
  CublasLt lt = CublasLt::load(cuda_library_names("libcublasLt.so.13"));
  const cublasStatus_t status = lt.create(&lt.handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw Error(ErrorKind::device, fmt::format("cublasLtCreate: {}", lt.status_text(status)));
  }
  return lt;
}

}  // namespace

CublasLt CublasLt::load(std::span<const std::string> names) {
  void* library = open_library(names);
  CublasLt lt{};
  find(library, "cublasLtCreate", &lt.create);
  find(library, "cublasLtMatmul", &lt.matmul);
  find(library, "cublasLtMatmulAlgoGetHeuristic", &lt.heuristic);
  find(library, "cublasLtMatmulAlgoConfigGetAttribute", &lt.algorithm_get);
  find(library, "cublasLtMatmulDescCreate", &lt.desc_create);
  find(library, "cublasLtMatmulDescDestroy", &lt.desc_destroy);
  find(library, "cublasLtMatmulDescSetAttribute", &lt.desc_set);
  find(library, "cublasLtMatrixLayoutCreate", &lt.layout_create);
  find(library, "cublasLtMatrixLayoutDestroy", &lt.layout_destroy);
  find(library, "cublasLtMatrixLayoutSetAttribute", &lt.layout_set);
  find(library, "cublasLtMatmulPreferenceCreate", &lt.preference_create);
  find(library, "cublasLtMatmulPreferenceDestroy", &lt.preference_destroy);
  find(library, "cublasLtMatmulPreferenceSetAttribute", &lt.preference_set);
  find(library, "cublasLtGetVersion", &lt.version);
  find(library, "cublasLtGetStatusString", &lt.status_text);
  return lt;
}

const CublasLt& CublasLt::get() {
  static const CublasLt once = make();
  return once;
}

void check_cublaslt(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw Error(ErrorKind::device, fmt::format("{}: {}", what, CublasLt::get().status_text(status)));
  }
}

}  // namespace floe
