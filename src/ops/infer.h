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

// A norm over the last dim: x floating [..., d] with d a number above 0, gamma (input 1) floating [d], eps >=
// 0.
void check_norm(const InferArgs& args);
// The placement of input 0 as it comes, but with every row (the last dim) whole on one rank and nothing left
// to sum.
Placement whole_rows(const ShardArgs& args);

}  // namespace floe
