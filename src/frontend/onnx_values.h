// Small graphs that several rules build.
#pragma once
#include <vector>

#include "ir/builder.h"

namespace floe {

Value ints(Builder& b, const std::vector<int64_t>& values);  // i64 [n]
Value size_value(Builder& b, const Dim& size, DType dtype);  // [], from a symbolic dim too
Value dims_value(Builder& b, const Dims& dims);              // i64 [n]
Value positions(Builder& b, const Dim& n);                   // i64 [n]: 0, 1, ...
Value truncated_div(Builder& b, Value x, Value y);           // of integers
Value truncate(Builder& b, Value x);                         // of floats, towards 0
Value isnan(Builder& b, Value x);
Value clamp(Builder& b, Value x, double low, double high);

// Dims of what NumPy broadcasts the types to; throws Error{user}.
Dims broadcast_of(Builder& b, const std::vector<Type>& types);
Value move_axis(Builder& b, Value x, int from, int to);
Value softmax_along(Builder& b, Value x, int axis, bool log);

// Over axes; keep leaves 1s. i8, u8 and bool go through i32.
Value sum_over(Builder& b, Value x, std::vector<int64_t> axes, bool keep);
Value max_over(Builder& b, Value x, const std::vector<int64_t>& axes, bool keep);
Value min_over(Builder& b, Value x, const std::vector<int64_t>& axes, bool keep);
Value mean_over(Builder& b, Value x, const std::vector<int64_t>& axes, bool keep);
// Index of the largest (smallest) along an axis, i64, NaN first; of equal ones the first or the last.
Value arg_over(Builder& b, Value x, int axis, bool largest, bool last, bool keep);

// NumPy's matmul of any ranks; integers exactly, as i32.
Value numpy_matmul(Builder& b, Value x, Value y);

// Rows `indices` (negative ones count from the end) along an axis.
Value gather_wrapped(Builder& b, Value x, Value indices, int axis);
Value gather_elements(Builder& b, Value x, Value indices, int axis);

}  // namespace floe
