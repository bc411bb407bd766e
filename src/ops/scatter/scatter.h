// scatter: rows of x replaced by, or joined with, rows of updates, in the order of the updates.
//   x [n, d...], indices i32 or i64 [m], updates [m, d...] -> [n, d...]
// `reduction`: "none" (the last one wins), "add", "mul", "max", "min" (NaN wins). An index outside 0..n-1 is
// refused when it runs; on a GPU, which cannot, its update is left out.
#pragma once
#include <string>

#include "ir/builder.h"

namespace floe {

Value scatter(Builder& b, Value x, Value indices, Value updates, const std::string& reduction);

}  // namespace floe
