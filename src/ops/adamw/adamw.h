// One step of AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019), bias-corrected,
// with the order of operations of PyTorch's AdamW, for any number of parameters at once:
//   g = grad * scale;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   param = param (1 - lr decay) - lr / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + eps)
// Where skip is not 0 (a step whose gradients are not finite) param, m and v stay as they are. A parameter
// may have a result more: a copy of what it is after the step, in bf16, for products that read it so.
//
// As a node: inputs param, grad, m, v of each parameter, then lr, step, scale, skip; results param, m, v of
// each, then the copies. Attributes beta1, beta2, eps, weight_decay; lists of parameters by number,
// ascending: `decayed`, which weight_decay is for (missing: all), and `copied` (missing: none).
#pragma once
#include <vector>

#include "ir/builder.h"

namespace floe {

struct AdamWParameter {
  Value param, grad, m, v;  // one shape; grad may have another floating type
  bool decays = true;
  bool copied = false;
};
struct AdamW {
  std::vector<AdamWParameter> parameters;  // at least one
  Value lr;                                // f32 []
  Value step;                              // i32 [], 1 for the first
  Value scale, skip;                       // f32 []
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
};
struct AdamWState {
  Value param, m, v;
  Value copy;  // of a parameter that is copied
};
std::vector<AdamWState> adamw(Builder& b, const AdamW& args);

}  // namespace floe
