// What both devices' kernels read off a call: where the operands of each parameter lie.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernel/kernel.h"

namespace floe {

struct AdamWOperands {
  struct Parameter {
    size_t input;   // its param; then grad, m, v
    size_t output;  // its param; then m, v
    size_t copy;    // output of its bf16 copy; 0: none
    bool decays;
  };
  std::vector<Parameter> parameters;
  size_t scalars;  // input lr; then step, scale, skip
};

inline AdamWOperands adamw_operands(const KernelCall& call) {
  const size_t count = (call.inputs.size() - 4) / 4;
  AdamWOperands all{{}, count * 4};
  const bool all_decay = !call.attrs.has("decayed");
  for (size_t k = 0; k < count; ++k) all.parameters.push_back({k * 4, k * 3, 0, all_decay});
  if (!all_decay) {
    for (const int64_t k : call.attrs.integers("decayed"))
      all.parameters[static_cast<size_t>(k)].decays = true;
  }
  if (call.attrs.has("copied")) {
    size_t copy = count * 3;
    for (const int64_t k : call.attrs.integers("copied"))
      all.parameters[static_cast<size_t>(k)].copy = copy++;
  }
  return all;
}

// Parameters and moments are f32; what its gradients may be, the kernel says.
template <class Takes>
bool supports_adamw(const KernelSignature& s, Takes takes_gradient) {
  for (size_t k = 0; k + 4 < s.inputs.size(); ++k) {
    if (k % 4 == 1 ? !takes_gradient(s.inputs[k]) : s.inputs[k] != DType::f32) return false;
  }
  return true;
}

}  // namespace floe
