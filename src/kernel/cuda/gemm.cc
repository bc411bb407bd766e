#include "kernel/cuda/gemm.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "device/cuda/cache_folder.h"
#include "device/cuda/check.h"
#include "device/cuda/cublaslt.h"
#include "kernel/cuda/gemm_choices.h"

namespace floe {
namespace {

constexpr size_t kWorkspace = size_t{32} << 20;  // what cuBLASLt asks for on Hopper
constexpr int kCandidates = 8;

struct Scratch {
  explicit Scratch(size_t bytes) {
    if (bytes == 0) return;
    check_cuda(cudaMalloc(&data, bytes), "memory to measure a matrix product");
    check_cuda(cudaMemset(data, 0x3C, bytes), "cudaMemset");
  }
  ~Scratch() { cudaFree(data); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* data = nullptr;
};

struct Timer {
  Timer() {
    FLOE_CUDA_CALL(cudaStreamCreate(&stream));
    FLOE_CUDA_CALL(cudaEventCreate(&start));
    FLOE_CUDA_CALL(cudaEventCreate(&stop));
  }
  ~Timer() {
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    cudaStreamDestroy(stream);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  template <class F>
  double least_of(int runs, F run) const {
    float least = 0;
    for (int i = 0; i < runs; ++i) {
      FLOE_CUDA_CALL(cudaEventRecord(start, stream));
      run();
      FLOE_CUDA_CALL(cudaEventRecord(stop, stream));
      FLOE_CUDA_CALL(cudaEventSynchronize(stop));
      float milliseconds = 0;
      FLOE_CUDA_CALL(cudaEventElapsedTime(&milliseconds, start, stop));
      least = i == 0 ? milliseconds : std::min(least, milliseconds);
    }
    return static_cast<double>(least);
  }

  cudaStream_t stream = nullptr;
  cudaEvent_t start = nullptr, stop = nullptr;
};

std::string text_of(const cublasLtMatmulAlgo_t& algorithm) {
  std::string text;
  for (const uint64_t word : algorithm.data) text += fmt::format("{:016x}", word);
  return text;
}

// Everything that the choice depends on.
std::string key_of(const CudaGemmShape& s) {
  int device = 0;
  FLOE_CUDA_CALL(cudaGetDevice(&device));
  cudaDeviceProp card{};
  FLOE_CUDA_CALL(cudaGetDeviceProperties(&card, device));
  return fmt::format("{} cublaslt {} {}x{}x{} batch {} a{} b{} {} {}{}{}{}", card.name,
                     CublasLt::get().version(), s.m, s.n, s.k, s.batch, s.transpose_a ? "t" : "",
                     s.transpose_b ? "t" : "", name_of(s.in), name_of(s.out), s.accumulate ? " add" : "",
                     s.bias ? " bias" : "", s.relu ? " relu" : "");
}

cudaDataType_t type_of(DType type) { return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// Alignment that rows of so many elements keep, from a base that is aligned to 16 bytes at least.
uint32_t alignment_of(int64_t row, DType type) {
  const auto bytes = static_cast<uint64_t>(row) * size_of(type);
  uint32_t alignment = 16;
  while (bytes % alignment != 0) alignment /= 2;
  return std::max<uint32_t>(alignment, static_cast<uint32_t>(size_of(type)));
}

}  // namespace

// cuBLASLt counts in columns, so it is given the transposed product: C' = B' A'.
struct CudaGemm::Plan {
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
  cublasLtMatmulAlgo_t algorithm{};

  Plan() = default;
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    const CublasLt& lt = CublasLt::get();
    for (cublasLtMatrixLayout_t layout : {first, second, result}) {
      if (layout != nullptr) lt.layout_destroy(layout);
    }
    if (desc != nullptr) lt.desc_destroy(desc);
  }

  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check_cublaslt(CublasLt::get().desc_set(desc, attribute, &value, sizeof(value)),
                   "cublasLtMatmulDescSetAttribute");
  }
};

namespace {

struct Stored {
  DType type;
  int64_t rows, columns;  // as cuBLASLt counts: `rows` lie side by side in memory
  int64_t step;           // elements from one batch to the next
};

cublasLtMatrixLayout_t layout_of(const Stored& m, int64_t batch) {
  const CublasLt& lt = CublasLt::get();
  cublasLtMatrixLayout_t layout = nullptr;
  check_cublaslt(lt.layout_create(&layout, type_of(m.type), static_cast<uint64_t>(m.rows),
                                  static_cast<uint64_t>(m.columns), m.rows),
                 "cublasLtMatrixLayoutCreate");
  if (batch > 1) {
    const auto count = static_cast<int32_t>(batch);
    check_cublaslt(lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)),
                   "cublasLtMatrixLayoutSetAttribute");
    check_cublaslt(
        lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &m.step, sizeof(m.step)),
        "cublasLtMatrixLayoutSetAttribute");
  }
  return layout;
}

}  // namespace

CudaGemm::CudaGemm(const CudaGemmShape& shape) : shape_(shape) {
  const CudaGemmShape& s = shape_;
  if (s.m == 0 || s.n == 0 || s.k == 0 || s.batch == 0) return;
  const CublasLt& lt = CublasLt::get();
  plan_ = std::make_unique<Plan>();
  check_cublaslt(lt.desc_create(&plan_->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  plan_->set(CUBLASLT_MATMUL_DESC_TRANSA, s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  plan_->set(CUBLASLT_MATMUL_DESC_TRANSB, s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  const cublasLtEpilogue_t epilogue = s.bias && s.relu ? CUBLASLT_EPILOGUE_RELU_BIAS
                                      : s.bias         ? CUBLASLT_EPILOGUE_BIAS
                                      : s.relu         ? CUBLASLT_EPILOGUE_RELU
                                                       : CUBLASLT_EPILOGUE_DEFAULT;
  plan_->set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
  if (s.bias) plan_->set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(s.out));
  const Stored first{s.in, s.transpose_b ? s.k : s.n, s.transpose_b ? s.n : s.k, s.k * s.n};
  const Stored second{s.in, s.transpose_a ? s.m : s.k, s.transpose_a ? s.k : s.m, s.m * s.k};
  const Stored result{s.out, s.n, s.m, s.m * s.n};
  plan_->first = layout_of(first, s.batch);
  plan_->second = layout_of(second, s.batch);
  plan_->result = layout_of(result, s.batch);

  cublasLtMatmulPreference_t preference = nullptr;
  check_cublaslt(lt.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check_cublaslt(lt.preference_set(preference, attribute, &value, sizeof(value)),
                   "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspace});
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(first.rows, s.in));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(second.rows, s.in));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(result.rows, s.out));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(result.rows, s.out));
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
  int count = 0;
  const cublasStatus_t status =
      lt.heuristic(lt.handle, plan_->desc, plan_->first, plan_->second, plan_->result, plan_->result,
                   preference, kCandidates, found.data(), &count);
  lt.preference_destroy(preference);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0) {
    throw Error(ErrorKind::device,
                fmt::format("cuBLASLt has no algorithm for {} x [{}, {}] x [{}, {}], {} to {}: {}", s.batch,
                            s.m, s.k, s.k, s.n, name_of(s.in), name_of(s.out), lt.status_text(status)));
  }
  // Once measured, an algorithm is known by its description in cuBLASLt's own form.
  const std::string choice = GemmChoices(kernel_cache_folder()).of(key_of(s), [&] {
    const int best = count == 1 ? 0 : fastest({found.data(), static_cast<size_t>(count)});
    return text_of(found[static_cast<size_t>(best)].algo);
  });
  size_t chosen = 0;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    if (text_of(found[i].algo) == choice) chosen = i;
  }
  plan_->algorithm = found[chosen].algo;
  workspace_ = found[chosen].workspaceSize;
}

// On memory of its own, filled with 0.0115: small, and no zeros, on which cards run faster than on data.
int CudaGemm::fastest(std::span<const cublasLtMatmulHeuristicResult_t> candidates) const {
  constexpr int kRuns = 3;
  constexpr double kMargin = 0.97;  // a later candidate must be faster by more than noise
  const CudaGemmShape& s = shape_;
  const auto bytes = [](int64_t n, DType type) { return static_cast<size_t>(n) * size_of(type); };
  const Scratch a(bytes(s.batch * s.m * s.k, s.in)), b(bytes(s.batch * s.k * s.n, s.in));
  const Scratch c(bytes(s.batch * s.m * s.n, s.out)), bias(bytes(s.n, s.out)), workspace(kWorkspace);
  if (s.bias) plan_->set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias.data));
  const Timer timer;
  const float alpha = 1, beta = s.accumulate ? 1 : 0;
  const CublasLt& lt = CublasLt::get();
  int best = -1;
  double least = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto once = [&] {
      return lt.matmul(lt.handle, plan_->desc, &alpha, b.data, plan_->first, a.data, plan_->second, &beta,
                       c.data, plan_->result, c.data, plan_->result, &candidates[i].algo, workspace.data,
                       candidates[i].workspaceSize, timer.stream);
    };
    if (once() != CUBLAS_STATUS_SUCCESS) continue;  // the heuristic may name what does not run
    const double seconds = timer.least_of(kRuns, [&] { check_cublaslt(once(), "cublasLtMatmul"); });
    if (best < 0 || seconds < kMargin * least) {
      best = static_cast<int>(i);
      least = seconds;
    }
  }
  return std::max(best, 0);
}

CudaGemm::~CudaGemm() = default;

void CudaGemm::run(const void* a, const void* b, void* c, const void* bias, void* workspace,
                   void* stream) const {
  const CudaGemmShape& s = shape_;
  if (plan_ == nullptr) {
    const size_t bytes = static_cast<size_t>(s.batch * s.m * s.n) * size_of(s.out);
    if (bytes > 0 && !s.accumulate)
      check_cuda(cudaMemsetAsync(c, 0, bytes, static_cast<cudaStream_t>(stream)), "cudaMemsetAsync");
    return;
  }
  // The description holds the bias's address, and runs of one plan are never side by side.
  if (s.bias) plan_->set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  const float alpha = 1, beta = s.accumulate ? 1 : 0;
  const CublasLt& lt = CublasLt::get();
  check_cublaslt(
      lt.matmul(lt.handle, plan_->desc, &alpha, b, plan_->first, a, plan_->second, &beta, c, plan_->result, c,
                plan_->result, &plan_->algorithm, workspace, workspace_, static_cast<cudaStream_t>(stream)),
      "cublasLtMatmul");
}

}  // namespace floe
