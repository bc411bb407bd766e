// iota: i32[dims] whose elements count along one axis from `start`, which may be an expression: key
// positions, masks.
#pragma once
#include "ir/builder.h"

namespace floe {

Value iota(Builder& b, Dims dims, int64_t axis, Dim start = Dim(0));

}  // namespace floe
