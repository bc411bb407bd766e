#include "device/cuda/cublaslt.h"

#include <dlfcn.h>

#include "base/error.h"

namespace floe {
namespace {

void* open_library() {
  for (const char* name :
       {"libcublasLt.so.13", "libcublasLt.so", "/usr/local/cuda/lib64/libcublasLt.so.13"}) {
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  }
  throw Error(ErrorKind::device,
              fmt::format("cuBLASLt of CUDA 13 (libcublasLt.so.13) cannot be loaded: {}", dlerror()));
}

template <class F>
void find(void* library, const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(library, name));
  if (*function == nullptr)
    throw Error(ErrorKind::device, fmt::format("libcublasLt has no function '{}'", name));
}

CublasLt load() {
  void* library = open_library();  // stays loaded
  CublasLt lt{};
  decltype(&cublasLtCreate) create = nullptr;
  find(library, "cublasLtCreate", &create);
  find(library, "cublasLtMatmul", &lt.matmul);
  find(library, "cublasLtMatmulAlgoGetHeuristic", &lt.heuristic);
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
  const cublasStatus_t status = create(&lt.handle);
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(ErrorKind::device, fmt::format("cublasLtCreate: {}", lt.status_text(status)));
  return lt;
}

}  // namespace

const CublasLt& CublasLt::get() {
  static const CublasLt once = load();
  return once;
}

void check_cublaslt(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(ErrorKind::device, fmt::format("{}: {}", what, CublasLt::get().status_text(status)));
}

}  // namespace floe
