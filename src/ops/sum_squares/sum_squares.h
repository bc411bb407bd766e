// sum_squares: the sum of all squares of x, in a fixed order -> f32 [].
#pragma once
#include "ir/builder.h"

namespace floe {

Value sum_squares(Builder& b, Value x);

}  // namespace floe
