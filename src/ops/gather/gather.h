// gather: entries of one axis by index, of any element type.
//   x [a..., n, b...], indices i32 or i64 [i...] -> [a..., i..., b...]
// An index outside 0..n-1 is refused when it runs; on a GPU, which cannot, it gives NaN (integers: 0).
// embedding is the special case of the first axis of a table of floats.
#pragma once
#include "ir/builder.h"

namespace floe {

Value gather(Builder& b, Value x, Value indices, int64_t axis);

}  // namespace floe
