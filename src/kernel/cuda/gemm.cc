#include "kernel/cuda/gemm.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "device/cuda/cache_folder.h"
#include "device/cuda/check.h"
#include "kernel/cuda/gemm_choices.h"
#include "kernel/cuda/gemm_plan.h"
#include "kernel/cuda/gemm_trial.h"
#include "kernel/cuda/sliced_gemm.h"
#include "kernel/cuda/small_gemm.h"

namespace floe {
namespace {

void require(cublasStatus_t status, const CudaGemmShape& s) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(
      ErrorKind::device,
      fmt::format("cuBLASLt has no algorithm for {} x [{}, {}] x [{}, {}], {} to {}: {}", s.batch, s.m, s.k,
                  s.k, s.n, name_of(s.in), name_of(s.out), CublasLt::get().status_text(status)));
}

// cuBLASLt's epilogues BGRADA and BGRADB ("bias gradient") store the sums over k of its operand A, one for
// each row of its D, or of its operand B, one for each column. It is given C' = B' A': its A is our B [k, n],
// and D = C' has n rows, so BGRADA gives the n sums of our B; BGRADB gives the m sums of our A [k, m]. They
// have D's type and lie where a bias would.
cublasLtEpilogue_t sums_epilogue(const CudaGemmShape& s) {
  return s.sums == GemmSums::none   ? CUBLASLT_EPILOGUE_DEFAULT
         : s.sums == GemmSums::of_a ? CUBLASLT_EPILOGUE_BGRADB
                                    : CUBLASLT_EPILOGUE_BGRADA;
}

// The ways of a product, as remembered.
constexpr const char* kTogether = "together";  // sums in the epilogue
constexpr const char* kApart = "apart";        // no sums, or a pass for them
constexpr const char* kSlices = "slices";

bool is_small(const CudaGemmShape& s) { return s.m * s.n <= SmallGemm::kElements; }

// Where every algorithm varies the product is our own, as a small one is.
bool is_of_library(cublasStatus_t status, const CudaGemmShape& s) {
  const size_t bytes = static_cast<size_t>(s.batch * s.m * s.n) * size_of(s.out);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED && bytes <= GemmTrial::kWatched) return false;
  require(status, s);
  return true;
}

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

CudaGemm::CudaGemm(const CudaGemmShape& shape) : shape_(shape) {
  const CudaGemmShape& s = shape_;
  const bool plain = !s.bias && s.activation == CudaActivation::none;
  FLOE_CHECK(!s.accumulate || plain, "a product that adds to C has no bias or activation");
  bias_after_ = s.bias;
  activation_after_ = s.activation;
  if (s.sums != GemmSums::none) {
    FLOE_CHECK(plain && !s.accumulate && s.batch == 1 && s.out == DType::f32,
               "sums come beside one plain product to f32");
    FLOE_CHECK(s.sums == GemmSums::of_a ? s.transpose_a : !s.transpose_b,
               "an operand whose sums over k are wanted is stored [k, ...]");
    plan_sums();
    return;
  }
  if (s.m == 0 || s.n == 0 || s.k == 0 || s.batch == 0 || is_small(s)) return;
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
  if (!is_of_library(status, s)) plan_.reset();
  if (plan_ == nullptr) return;
  workspace_ = plan_->workspace();
  choose_way(nullptr, SlicedGemm::make(s));
}

CudaGemm::~CudaGemm() = default;

void CudaGemm::plan_sums() {
  const CudaGemmShape& s = shape_;
  const bool of_a = s.sums == GemmSums::of_a;
  slices_ = {s.in, s.k, of_a ? s.m : s.n};
  sums_after_ = true;
  workspace_ = slices_.bytes();
  if (s.m == 0 || s.n == 0 || s.k == 0 || is_small(s)) return;
  plan_ = std::make_unique<GemmPlan>(s);
  if (!is_of_library(plan_->choose(CUBLASLT_EPILOGUE_DEFAULT), s)) {
    plan_.reset();
    return;
  }
  slices_at_ = aligned(plan_->workspace());
  workspace_ = slices_at_ + slices_.bytes();
  auto together = std::make_unique<GemmPlan>(s);
  if (together->choose(sums_epilogue(s)) != CUBLAS_STATUS_SUCCESS) together.reset();
  choose_way(std::move(together), SlicedGemm::make(s));
}

// Algorithms that have an epilogue may be slower than others by more than a pass over the operand takes, and
// slices cost a pass over their parts: so all ways are measured, and which is fastest is remembered as
// algorithms are.
void CudaGemm::choose_way(std::unique_ptr<GemmPlan> together, std::unique_ptr<SlicedGemm> sliced) {
  if (together == nullptr && sliced == nullptr) return;
  const std::string key = key_of(shape_, sums_epilogue(shape_)) + ", in which way";
  const std::string choice = GemmChoices(kernel_cache_folder()).of(key, [&] {
    const GemmTrial trial(shape_, std::max({workspace_, together == nullptr ? 0 : together->workspace(),
                                            sliced == nullptr ? 0 : sliced->workspace()}));
    std::string best = kApart;
    double least = trial.time([&] { run(trial.operands(), trial.workspace(), trial.stream()); });
    const auto compare = [&](const char* way, const auto& other) {
      if (other == nullptr) return;
      const double time =
          trial.time([&] { other->run(trial.operands(), trial.workspace(), trial.stream()); });
      if (time >= least) return;
      best = way;
      least = time;
    };
    compare(kTogether, together);
    compare(kSlices, sliced);
    return best;
  });
  if (choice == kTogether && together != nullptr) {
    plan_ = std::move(together);
    workspace_ = plan_->workspace();
    sums_after_ = false;
  } else if (choice == kSlices && sliced != nullptr) {
    sliced_ = std::move(sliced);
    workspace_ = sliced_->workspace();
    plan_.reset();
  }
}

void CudaGemm::run(const Operands& operands, void* workspace, void* stream) const {
  const CudaGemmShape& s = shape_;
  if (sliced_ != nullptr) {
    sliced_->run(operands, workspace, static_cast<cudaStream_t>(stream));
    return;
  }
  if (plan_ == nullptr && s.k > 0) {
    const SmallGemm small{.m = s.m,
                          .n = s.n,
                          .k = s.k,
                          .batch = s.batch,
                          .transpose_a = s.transpose_a,
                          .transpose_b = s.transpose_b,
                          .in = s.in,
                          .out = s.out,
                          .accumulate = s.accumulate};
    small.run(operands.a, operands.b, operands.c, stream);
  } else if (plan_ == nullptr) {
    const size_t bytes = static_cast<size_t>(s.batch * s.m * s.n) * size_of(s.out);
    if (bytes > 0 && !s.accumulate) {
      FLOE_CUDA_CALL(cudaMemsetAsync(operands.c, 0, bytes, static_cast<cudaStream_t>(stream)));
    }
  } else {
    plan_->run(operands, workspace, static_cast<cudaStream_t>(stream));
  }
  if (sums_after_) {
    auto* partial = reinterpret_cast<float*>(static_cast<char*>(workspace) + slices_at_);
    sum_columns(slices_, s.sums == GemmSums::of_a ? operands.a : operands.b, partial, operands.sums, stream);
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
