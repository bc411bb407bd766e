// Attention on the GPU: which kernels run what.
#include <algorithm>

#include "device/cuda/current_device.h"
#include "ops/attention/attention_cuda.cuh"

namespace floe {
namespace {

bool floats_then_ids(const KernelSignature& signature, DType dtype, size_t floats, size_t lse) {
  const AttentionInputs at = AttentionInputs::of(*signature.attrs, floats);
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    const DType want = i == lse || at.is_float(i) ? DType::f32 : (i >= floats ? DType::i32 : dtype);
    if (signature.inputs[i] != want) return false;
  }
  return true;
}
constexpr size_t kNoLse = ~size_t{0};

// The optional inputs, which follow the tensors.
AttentionProblem with_optional(AttentionProblem problem, const AttentionInputs& at, const KernelRun& run) {
  const auto set = [&]<class T>(size_t input, const T*& to) {
    to = input == AttentionInputs::kAbsent ? nullptr : run.inputs[input].as<T>();
  };
  set(at.lengths, problem.lengths);
  set(at.query_lengths, problem.query_lengths);
  set(at.bias, problem.bias);
  set(at.slopes, problem.slopes);
  set(at.dlse, problem.dlse);
  set(at.seed, problem.seed);
  set(at.ordinals, problem.ordinals);
  return problem;
}

// Whether the tensor cores' kernels take it: 2-byte types whose rows are whole 16-byte units.
template <class T>
bool fits_mma(const AttentionProblem& s, const AttentionPointers& data) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const auto whole = [](const HeadsLayout& x) {
    return x.batch % 8 == 0 && x.row % 8 == 0 && x.head % 8 == 0;
  };
  const auto size = [](int width) { return width > 0 && width <= 256 && width % 8 == 0; };
  return sizeof(T) == 2 && size(s.width) && size(s.value_width) && whole(s.q) && whole(s.k) && whole(s.v) &&
         whole(s.dq) && whole(s.dk) && whole(s.dv) && aligned(data.q) && aligned(data.k) && aligned(data.v) &&
         aligned(data.out) && aligned(data.dout) && aligned(data.dq) && aligned(data.dk) && aligned(data.dv);
}

// Whether sequences are long enough for sm_90's kernel, whose tiles are 128 queries by 128 keys. It rounds
// otherwise than the other one, so where `lengths` say that rows are padded the border lies beyond what
// sentences are padded to: a sentence's bits must not depend on the longest one beside it. It never depends
// on the batch.
bool is_long(const AttentionProblem& s) {
  const int border = s.lengths == nullptr ? 128 : 512;
  return s.queries >= border && s.keys >= border;
}

template <class T>
BoundKernel bind_forward(const KernelCall& call) {
  const AttentionSpec spec = AttentionSpec::of(call.attrs, call.inputs, 3);
  BoundKernel bound;
  bound.run = [at = spec.at, problem = AttentionProblem::of(spec)](const KernelRun& run) {
    AttentionPointers data;
    data.q = run.inputs[0].data;
    data.k = run.inputs[1].data;
    data.v = run.inputs[2].data;
    data.to_out = run.outputs[0].data;
    data.to_lse = run.outputs[1].as<float>();
    const AttentionProblem s = with_optional(problem, at, run);
    if (s.general) return queue_plain_forward<T>(s, data, run.stream);
    if constexpr (sizeof(T) == 2) {
      if (fits_mma<T>(s, data)) {
        if (is_long(s) && wgmma_takes<T>(s, data) && device_is_sm90()) {
          return queue_wgmma_forward<T>(s, data, run.stream);
        }
        return queue_mma_forward<T>(s, data, run.stream);
      }
    }
    queue_plain_forward<T>(s, data, run.stream);
  };
  return bound;
}

template <class T>
BoundKernel bind_weights(const KernelCall& call) {
  const AttentionSpec spec = AttentionSpec::of(call.attrs, call.inputs, 2);
  BoundKernel bound;
  bound.run = [at = spec.at, problem = AttentionProblem::of(spec)](const KernelRun& run) {
    AttentionPointers data;
    data.q = run.inputs[0].data;
    data.k = run.inputs[1].data;
    data.weights = run.outputs[0].as<float>();
    queue_plain_weights<T>(with_optional(problem, at, run), data, run.stream);
  };
  return bound;
}

template <class T>
BoundKernel bind_grad(const KernelCall& call) {
  const AttentionSpec spec = AttentionSpec::of_gradient(call);
  BoundKernel bound;
  WgmmaGradPlan plan;
  if (sizeof(T) == 2) {
    if (!spec.general) plan = WgmmaGradPlan::of(AttentionProblem::of(spec), spec.lengths, spec.dropout);
    // Whether it fits is known with the data.
    bound.workspace =
        std::max(plan.bytes, static_cast<size_t>(spec.batch * spec.heads * spec.queries) * sizeof(float));
  }
  bound.run = [at = spec.at, bias_gradient = spec.bias_gradient, plan,
               problem = AttentionProblem::of(spec)](const KernelRun& run) {
    AttentionPointers data;
    data.q = run.inputs[0].data;
    data.k = run.inputs[1].data;
    data.v = run.inputs[2].data;
    data.out = run.inputs[3].data;
    data.lse = run.inputs[4].as<float>();
    data.dout = run.inputs[5].data;
    data.dq = run.outputs[0].data;
    data.dk = run.outputs[1].data;
    data.dv = run.outputs[2].data;
    data.workspace = static_cast<float*>(run.workspace);
    if (bias_gradient) data.dbias = run.outputs[3].as<float>();
    const AttentionProblem s = with_optional(problem, at, run);
    if (s.general) return queue_plain_grad<T>(s, data, run.stream);
    if constexpr (sizeof(T) == 2) {
      if (fits_mma<T>(s, data)) {
        if (plan.taken) return queue_wgmma_grad<T>(s, plan, data, run.stream);
        return queue_mma_grad<T>(s, data, run.stream);
      }
    }
    queue_plain_grad<T>(s, data, run.stream);
  };
  return bound;
}

template <class T>
void add_of(DType dtype, KernelTable& table) {
  const auto named = [&](const char* op) {
    Kernel kernel;
    kernel.op = op;
    kernel.device = DeviceKind::cuda;
    kernel.name = std::string(op) + "." + std::string(name_of(dtype));
    kernel.strided_inputs = 0b111;
    return kernel;
  };
  Kernel forward = named("attention");
  forward.supports = [dtype](const KernelSignature& signature) {
    return floats_then_ids(signature, dtype, 3, kNoLse);
  };
  forward.bind = bind_forward<T>;
  table.add(std::move(forward));

  Kernel weights = named("attention_weights");
  weights.supports = [dtype](const KernelSignature& signature) {
    return floats_then_ids(signature, dtype, 2, kNoLse) && !AttentionSpec::is_general(*signature.attrs);
  };
  weights.bind = bind_weights<T>;
  weights.strided_inputs = 0b11;
  table.add(std::move(weights));

  Kernel grad = named("attention_grad");
  grad.supports = [dtype](const KernelSignature& signature) {
    return floats_then_ids(signature, dtype, 6, 4);
  };
  grad.bind = bind_grad<T>;
  grad.strided_outputs = 0b111;
  table.add(std::move(grad));
}

}  // namespace

void add_attention_cuda(KernelTable& table) {
  add_of<float>(DType::f32, table);
  add_of<__nv_bfloat16>(DType::bf16, table);
  add_of<__half>(DType::f16, table);
}

}  // namespace floe
