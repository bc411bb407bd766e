// rms_norm over the last dim (Zhang, Sennrich: "Root mean square layer normalization", 2019):
//   y = x * r * gamma,  r = 1 / sqrt(mean(x^2) + eps)
// x [..., d], gamma [d]; the statistic is in f32 and recomputed in the gradient op.
#pragma once
#include "ir/builder.h"

namespace floe {

Value rms_norm(Builder& b, Value x, Value gamma, double eps);

struct RmsNormGrads {
  Value dx, dgamma;
};
RmsNormGrads rms_norm_grad(Builder& b, Value x, Value gamma, Value dy, double eps);

}  // namespace floe
