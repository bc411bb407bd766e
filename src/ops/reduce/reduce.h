// reduce_sum, reduce_max: over `axes`, which are dropped or kept as 1. Sums accumulate in f32
// (docs/numerics.md).
#pragma once
#include <vector>

#include "ir/builder.h"

namespace floe {

Value reduce_sum(Builder& b, Value x, std::vector<int64_t> axes, bool keep);
Value reduce_max(Builder& b, Value x, std::vector<int64_t> axes, bool keep);
Value reduce_mean(Builder& b, Value x, int64_t axis,
                  bool keep);  // scaled before it is summed, so it cannot overflow

}  // namespace floe
