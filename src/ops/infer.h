// Type rules that several ops share.
#pragma once
#include <vector>

#include "ir/op.h"

namespace floe {

// NumPy's rule on symbolic dims: aligned from the right, equal or 1. A dim that might be 1 at run time and is
// not provably equal is refused, never guessed.
Dims broadcast_dims(const InferArgs& args, const std::vector<Type>& types);
int normal_axis(const InferArgs& args, int64_t axis, int rank);  // -1 is the last
bool is_one(const Dim& dim);

}  // namespace floe
