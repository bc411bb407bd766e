// sum_squares: the sum of the squares of all elements of one or more tensors of one type, in a fixed order ->
// f32 []. Of many at once, since a model has a hundred gradients and the norm is one number.
#pragma once
#include "ir/builder.h"

namespace floe {

Value sum_squares(Builder& b, Values xs);

}  // namespace floe
