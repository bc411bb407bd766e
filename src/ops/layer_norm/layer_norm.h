// layer_norm over the last dim (Ba, Kiros, Hinton: "Layer normalization", 2016):
//   y = (x - mean(x)) * rstd * gamma + beta,  rstd = 1 / sqrt(mean((x - mean)^2) + eps)
// x [..., d], gamma [d], beta [d]. Statistics are in f32, the mean is taken off before squares are summed.
// Its gradient op recomputes mean and rstd from x: cheaper to read x again than to keep two more tensors
// alive.
#pragma once
#include "ir/builder.h"

namespace floe {

Value layer_norm(Builder& b, Value x, Value gamma, Value beta, double eps);

struct LayerNormGrads {
  Value dx, dgamma, dbeta;
};
LayerNormGrads layer_norm_grad(Builder& b, Value x, Value gamma, Value dy, double eps);

}  // namespace floe
