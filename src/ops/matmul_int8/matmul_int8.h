// matmul_int8: act(dequantized a times dequantized w transposed + bias), computed on the codes:
//   a i8 [..., k] with a_scale f32 [], or [..., 1] a row each
//   w i8 [n, k] with w_scale f32 [], or [n, 1] an output each
//   bias f32 [n] if wanted, activation as matmul's -> f32 [..., n]
// The sums are exact int32 (k <= 131,071, else refused); then (float(sum) * a_scale) * w_scale + bias, each
// operation rounded. The bias stays f32: as an int32 of scale a_scale w_scale it would overflow where weights
// are tiny.
#pragma once
#include <string>

#include "ir/builder.h"

namespace floe {

struct MatmulInt8Args {
  Value a, a_scale;
  Value w, w_scale;
  Value bias = {};
  std::string activation = "";
};
Value matmul_int8(Builder& b, const MatmulInt8Args& args);

}  // namespace floe
