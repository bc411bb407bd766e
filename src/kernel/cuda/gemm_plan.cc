#include "kernel/cuda/gemm_plan.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "device/cuda/cache_folder.h"
#include "device/cuda/check.h"
#include "kernel/cuda/gemm_choices.h"
#include "kernel/cuda/gemm_trial.h"

namespace floe {
namespace {

constexpr uint64_t kWorkspace = uint64_t{32} << 20;  // what cuBLAS takes on Hopper
constexpr int kAsked = 16;                           // of the heuristic
constexpr size_t kMeasured = 8;                      // of those that fit

cudaDataType_t type_of(DType type) { return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// What rows of so many elements keep of the 16 bytes that a matrix begins at.
uint32_t alignment_of(int64_t row, DType type) {
  const auto bytes = static_cast<uint64_t>(row) * size_of(type);
  uint32_t alignment = 16;
  while (bytes % alignment != 0) alignment /= 2;
  return alignment;
}

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
  cublasLtMatmulPreference_t get() const { return handle_; }

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

std::string text_of(const cublasLtMatmulAlgo_t& algorithm) {
  std::string text;
  for (const uint64_t word : algorithm.data) text += fmt::format("{:016x}", word);
  return text;
}

constexpr const char* kNone = "none";  // as a choice: all of them vary

constexpr int kBiasGradient = CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB;

}  // namespace

std::string key_of(const CudaGemmShape& s, cublasLtEpilogue_t epilogue) {
  int device = 0;
  FLOE_CUDA_CALL(cudaGetDevice(&device));
  cudaDeviceProp card{};
  FLOE_CUDA_CALL(cudaGetDeviceProperties(&card, device));
  return fmt::format("{} cublaslt {} {}x{}x{} batch {} a{} b{} {} {}{}{}{}{}{}", card.name,
                     CublasLt::get().version(), s.m, s.n, s.k, s.batch, s.transpose_a ? "t" : "",
                     s.transpose_b ? "t" : "", name_of(s.in), name_of(s.out), s.accumulate ? " add" : "",
                     (epilogue & CUBLASLT_EPILOGUE_BIAS) != 0 ? " bias" : "",
                     (epilogue & CUBLASLT_EPILOGUE_RELU) != 0 ? " relu" : "",
                     (epilogue & CUBLASLT_EPILOGUE_BGRADB) != 0 ? " sums of a" : "",
                     (epilogue & CUBLASLT_EPILOGUE_BGRADA) != 0 ? " sums of b" : "");
}

MatrixLayout::MatrixLayout(const StoredMatrix& m, int64_t batch) {
  check_cublaslt(CublasLt::get().layout_create(&handle_, type_of(m.type), static_cast<uint64_t>(m.rows),
                                               static_cast<uint64_t>(m.columns), m.rows),
                 "cublasLtMatrixLayoutCreate");
  if (batch == 1) return;
  FLOE_CHECK(batch <= INT32_MAX, "{} products at once", batch);
  set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(batch));
  set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, m.rows * m.columns);
}

template <class T>
void MatrixLayout::set(cublasLtMatrixLayoutAttribute_t attribute, T value) {
  check_cublaslt(CublasLt::get().layout_set(handle_, attribute, &value, sizeof(value)),
                 "cublasLtMatrixLayoutSetAttribute");
}

GemmPlan::GemmPlan(const CudaGemmShape& s)
    : shape_(s),
      first_{s.in, s.transpose_b ? s.k : s.n, s.transpose_b ? s.n : s.k},
      second_{s.in, s.transpose_a ? s.m : s.k, s.transpose_a ? s.k : s.m},
      result_{s.out, s.n, s.m},
      first_layout_(first_, s.batch),
      second_layout_(second_, s.batch),
      result_layout_(result_, s.batch) {
  check_cublaslt(CublasLt::get().desc_create(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                 "cublasLtMatmulDescCreate");
  set(CUBLASLT_MATMUL_DESC_TRANSA, s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_TRANSB, s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
}

template <class T>
void GemmPlan::set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check_cublaslt(CublasLt::get().desc_set(desc_, attribute, &value, sizeof(value)),
                 "cublasLtMatmulDescSetAttribute");
}

cublasStatus_t GemmPlan::choose(cublasLtEpilogue_t epilogue) {
  const CublasLt& lt = CublasLt::get();
  epilogue_ = epilogue;
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
  if ((epilogue & (CUBLASLT_EPILOGUE_BIAS | kBiasGradient)) != 0) {
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(result_.type));
  }
  Preference prefer;
  prefer.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
  prefer.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  prefer.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(first_.rows, first_.type));
  prefer.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(second_.rows, second_.type));
  prefer.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(result_.rows, result_.type));
  prefer.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(result_.rows, result_.type));
  std::vector<cublasLtMatmulHeuristicResult_t> found(kAsked);
  int count = 0;
  const cublasStatus_t status =
      lt.heuristic(lt.handle, desc_, first_layout_.get(), second_layout_.get(), result_layout_.get(),
                   result_layout_.get(), prefer.get(), kAsked, found.data(), &count);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  found.resize(static_cast<size_t>(count));
  std::erase_if(found, [](const cublasLtMatmulHeuristicResult_t& each) {
    return each.state != CUBLAS_STATUS_SUCCESS || splits_k(each.algo);
  });
  if (found.empty()) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (found.size() > kMeasured) found.resize(kMeasured);
  // Once measured, an algorithm is known by its description in cuBLASLt's own form.
  const std::string choice = GemmChoices(kernel_cache_folder()).of(key_of(shape_, epilogue), [&] {
    const int best = fastest(found);
    return best < 0 ? std::string(kNone) : text_of(found[static_cast<size_t>(best)].algo);
  });
  if (choice == kNone) return CUBLAS_STATUS_NOT_SUPPORTED;
  const auto known = std::find_if(found.begin(), found.end(),
                                  [&](const auto& each) { return text_of(each.algo) == choice; });
  const cublasLtMatmulHeuristicResult_t& chosen = known == found.end() ? found.front() : *known;
  algorithm_ = chosen.algo;
  workspace_ = chosen.workspaceSize;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t GemmPlan::start(const CudaGemm::Operands& operands, const cublasLtMatmulAlgo_t& algorithm,
                               void* workspace, size_t bytes, cudaStream_t stream) {
  // The description holds the address of the bias or its gradient: runs of one plan are never side by side.
  if ((epilogue_ & CUBLASLT_EPILOGUE_BIAS) != 0) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
  if ((epilogue_ & kBiasGradient) != 0) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.sums);
  const float alpha = 1, beta = shape_.accumulate ? 1 : 0;
  const CublasLt& lt = CublasLt::get();
  return lt.matmul(lt.handle, desc_, &alpha, operands.b, first_layout_.get(), operands.a,
                   second_layout_.get(), &beta, operands.c, result_layout_.get(), operands.c,
                   result_layout_.get(), &algorithm, workspace, bytes, stream);
}

void GemmPlan::run(const CudaGemm::Operands& operands, void* workspace, cudaStream_t stream) {
  check_cublaslt(start(operands, algorithm_, workspace, workspace_, stream), "cublasLtMatmul");
}

int GemmPlan::fastest(std::span<const cublasLtMatmulHeuristicResult_t> candidates) {
  constexpr double kMargin = 0.97;  // a later candidate must be faster by more than noise
  const GemmTrial trial(shape_, kWorkspace);
  int best = -1;
  double least = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto once = [&] {
      return start(trial.operands(), candidates[i].algo, trial.workspace(), candidates[i].workspaceSize,
                   trial.stream());
    };
    if (once() != CUBLAS_STATUS_SUCCESS) continue;  // the heuristic may name what does not run
    if (trial.varies([&] { check_cublaslt(once(), "cublasLtMatmul"); })) continue;
    const double time = trial.time([&] { check_cublaslt(once(), "cublasLtMatmul"); });
    if (best < 0 || time < kMargin * least) {
      best = static_cast<int>(i);
      least = time;
    }
  }
  return best;
}

}  // namespace floe
