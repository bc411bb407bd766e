// Ops of INT8 (tensor/quantize.h has the numbers: half to even, -127..127). Scales are values, so that they
// may be constants, states or computed at run time.
//   absmax(x f [..., n]) -> f32: the largest |x|; NaN where there is one, 0 of nothing
//   quantize(x f [..., n], scale f32) -> i8 [..., n];  dequantize(q i8 [..., n], scale f32) -> f32 [..., n]
//   quantize_rows(x f [..., n]) -> i8 [..., n] and scales f32 [..., 1]: quantize by the scale of each row's
//     absolute maximum, in one kernel
// A scale's shape says what it belongs to: [] the tensor, [..., 1] a row each, [n] a column each.
// No gradient flows through.
#pragma once
#include "ir/builder.h"
#include "ops/quantize/quantize_kernel.h"

namespace floe {

Value absmax(Builder& b, Value x, ScalePer per);
Value scale_of_absmax(Builder& b, Value absmax);  // as scale_for()
Value quantize(Builder& b, Value x, Value scale);
Value dequantize(Builder& b, Value codes, Value scale);
struct QuantizedRows {
  Value codes, scales;
};
QuantizedRows quantize_rows(Builder& b, Value x);

}  // namespace floe
