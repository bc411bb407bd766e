#include "kernel/cuda/gemm.h"

#include <algorithm>

#include "base/error.h"
#include "device/cuda/check.h"
#include "device/cuda/cublaslt.h"

namespace floe {
namespace {

constexpr uint64_t kWorkspace = uint64_t{32} << 20;  // what cuBLAS takes on Hopper
constexpr int kCandidates = 16;                      // of the heuristic, of which the first fit one is taken

cudaDataType_t type_of(DType type) { return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// What rows of so many elements keep of the 16 bytes that a matrix begins at.
uint32_t alignment_of(int64_t row, DType type) {
  const auto bytes = static_cast<uint64_t>(row) * size_of(type);
  uint32_t alignment = 16;
  while (bytes % alignment != 0) alignment /= 2;
  return alignment;
}

// A matrix as cuBLASLt counts: `rows` lie side by side in memory.
struct Stored {
  DType type;
  int64_t rows, columns;
};

class Layout {
 public:
  Layout(const Stored& m, int64_t batch) {
    const CublasLt& lt = CublasLt::get();
    check_cublaslt(lt.layout_create(&handle_, type_of(m.type), static_cast<uint64_t>(m.rows),
                                    static_cast<uint64_t>(m.columns), m.rows),
                   "cublasLtMatrixLayoutCreate");
    if (batch == 1) return;
    FLOE_CHECK(batch <= INT32_MAX, "{} products at once", batch);
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(batch));
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, m.rows * m.columns);
  }
  ~Layout() { CublasLt::get().layout_destroy(handle_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  operator cublasLtMatrixLayout_t() const { return handle_; }

 private:
  template <class T>
  void set(cublasLtMatrixLayoutAttribute_t attribute, T value) {
    check_cublaslt(CublasLt::get().layout_set(handle_, attribute, &value, sizeof(value)),
                   "cublasLtMatrixLayoutSetAttribute");
  }
  cublasLtMatrixLayout_t handle_ = nullptr;
};

class Preference {
 public:
  Preference() {
    check_cublaslt(CublasLt::get().preference_create(&handle_), "cublasLtMatmulPreferenceCreate");
  }
  ~Preference() { CublasLt::get().preference_destroy(handle_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;
  template <class T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    check_cublaslt(CublasLt::get().preference_set(handle_, attribute, &value, sizeof(value)),
                   "cublasLtMatmulPreferenceSetAttribute");
  }
  operator cublasLtMatmulPreference_t() const { return handle_; }

 private:
  cublasLtMatmulPreference_t handle_ = nullptr;
};

template <class T>
T setting(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value{};
  size_t written = 0;
  check_cublaslt(CublasLt::get().algorithm_get(&algorithm, attribute, &value, sizeof(value), &written),
                 "cublasLtMatmulAlgoConfigGetAttribute");
  return value;
}

// A sum cut over blocks would be put together in an order that varies with M.
bool splits_k(const cublasLtMatmulAlgo_t& algorithm) {
  return setting<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) > 1 ||
         setting<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) !=
             CUBLASLT_REDUCTION_SCHEME_NONE;
}

}  // namespace

// cuBLASLt counts in columns, so it is given the transposed product: C' = B' A'.
struct CudaGemm::Plan {
  Stored first, second, result;  // B', A', C'
  Layout first_layout, second_layout, result_layout;
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  size_t workspace = 0;

  explicit Plan(const CudaGemmShape& s)
      : first{s.in, s.transpose_b ? s.k : s.n, s.transpose_b ? s.n : s.k},
        second{s.in, s.transpose_a ? s.m : s.k, s.transpose_a ? s.k : s.m},
        result{s.out, s.n, s.m},
        first_layout(first, s.batch),
        second_layout(second, s.batch),
        result_layout(result, s.batch) {
    check_cublaslt(CublasLt::get().desc_create(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                   "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  }
  ~Plan() { CublasLt::get().desc_destroy(desc); }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check_cublaslt(CublasLt::get().desc_set(desc, attribute, &value, sizeof(value)),
                   "cublasLtMatmulDescSetAttribute");
  }

  // False, and `status` says why, when no algorithm has that epilogue.
  bool choose(cublasLtEpilogue_t epilogue, cublasStatus_t* status) {
    const CublasLt& lt = CublasLt::get();
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if ((epilogue & CUBLASLT_EPILOGUE_BIAS) != 0) {
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(result.type));
    }
    Preference prefer;
    prefer.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
    prefer.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
    prefer.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(first.rows, first.type));
    prefer.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(second.rows, second.type));
    prefer.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(result.rows, result.type));
    prefer.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(result.rows, result.type));
    cublasLtMatmulHeuristicResult_t found[kCandidates] = {};
    int count = 0;
    *status = lt.heuristic(lt.handle, desc, first_layout, second_layout, result_layout, result_layout, prefer,
                           kCandidates, found, &count);
    if (*status != CUBLAS_STATUS_SUCCESS) return false;
    for (int i = 0; i < count; ++i) {
      if (found[i].state != CUBLAS_STATUS_SUCCESS || splits_k(found[i].algo)) continue;
      algorithm = found[i].algo;
      workspace = found[i].workspaceSize;
      return true;
    }
    *status = CUBLAS_STATUS_NOT_SUPPORTED;
    return false;
  }
};

CudaGemm::CudaGemm(const CudaGemmShape& shape) : shape_(shape) {
  const CudaGemmShape& s = shape_;
  FLOE_CHECK(!s.accumulate || (!s.bias && s.activation == CudaActivation::none),
             "a product that adds to C has no bias or activation");
  bias_after_ = s.bias;
  activation_after_ = s.activation;
  if (s.m == 0 || s.n == 0 || s.k == 0 || s.batch == 0) return;
  plan_ = std::make_unique<Plan>(s);
  // cuBLASLt's GELU is not taken: the error of its tanh is not stated.
  const bool relu = s.activation == CudaActivation::relu;
  const cublasLtEpilogue_t epilogue = s.bias && relu ? CUBLASLT_EPILOGUE_RELU_BIAS
                                      : s.bias       ? CUBLASLT_EPILOGUE_BIAS
                                      : relu         ? CUBLASLT_EPILOGUE_RELU
                                                     : CUBLASLT_EPILOGUE_DEFAULT;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  if (plan_->choose(epilogue, &status)) {
    bias_after_ = false;
    if (relu) activation_after_ = CudaActivation::none;
  } else if (epilogue == CUBLASLT_EPILOGUE_DEFAULT || !plan_->choose(CUBLASLT_EPILOGUE_DEFAULT, &status)) {
    throw Error(
        ErrorKind::device,
        fmt::format("cuBLASLt has no algorithm for {} x [{}, {}] x [{}, {}], {} to {}: {}", s.batch, s.m, s.k,
                    s.k, s.n, name_of(s.in), name_of(s.out), CublasLt::get().status_text(status)));
  }
  workspace_ = plan_->workspace;
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
    // The description holds the bias's address, and runs of one plan are never side by side.
    if (s.bias && !bias_after_) plan_->set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
    const float alpha = 1, beta = s.accumulate ? 1 : 0;
    const CublasLt& lt = CublasLt::get();
    check_cublaslt(lt.matmul(lt.handle, plan_->desc, &alpha, operands.b, plan_->first_layout, operands.a,
                             plan_->second_layout, &beta, operands.c, plan_->result_layout, operands.c,
                             plan_->result_layout, &plan_->algorithm, workspace, workspace_,
                             static_cast<cudaStream_t>(stream)),
                   "cublasLtMatmul");
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
