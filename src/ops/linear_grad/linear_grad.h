// linear_grad: the gradients of a linear layer's weight and bias, which read the same dy:
//   x [rows, in], dy [rows, out] -> dweight = dy^T x [out, in], dbias = sum of dy's rows [out]
// Both are f32 and nothing is rounded before, as sums are (f64 from f64). Attribute "input_first": the weight
// is stored [in, out], so dweight is x^T dy. passes/bias_gradients.h makes it where the device has a kernel.
#pragma once
#include "ir/builder.h"

namespace floe {

struct LinearGrads {
  Value dweight, dbias;
};
LinearGrads linear_grad(Builder& b, Value x, Value dy, bool input_first = false);

}  // namespace floe
