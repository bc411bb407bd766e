// One step of AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019), bias-corrected,
// with the order of operations of PyTorch's AdamW:
//   g = grad * scale;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   param = param (1 - lr decay) - lr / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + eps)
// Where skip is not 0 (a step whose gradients are not finite) all three stay as they are.
#pragma once
#include "ir/builder.h"

namespace floe {

struct AdamW {
  Value param, grad, m, v;  // one shape; grad may have another floating type
  Value lr;                 // f32 []
  Value step;               // i32 [], 1 for the first
  Value scale, skip;        // f32 []
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
};
struct AdamWState {
  Value param, m, v;
};
AdamWState adamw(Builder& b, const AdamW& args);

}  // namespace floe
