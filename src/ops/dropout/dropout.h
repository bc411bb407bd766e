// uniform and dropout: random numbers that depend only on (seed, op id) and on unpadded coordinates
// (tensor/philox.h), so a mask does not change with padding, batch split, fusion, printer or rank.
//   ordinals i32 [B]: each row's number in the step's global batch; dim 0 of the result is B, the last dim is
//   the feature; rank 3 is [B, position, feature], rank 4 [B, head, position, feature].
#pragma once
#include "ir/builder.h"

namespace floe {

// f32 in [0, 1), of shape `dims`.
Value uniform(Builder& b, Value seed, Value ordinals, Dims dims, int64_t op_id);

// x / (1 - p) where the uniform number is at least p, else 0. Takes the builder's next op id; p = 0 is x
// itself.
Value dropout(Builder& b, Value x, Value seed, Value ordinals, double p);

}  // namespace floe
