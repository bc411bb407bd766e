// softmax and log_softmax over the last dim, accumulated in f32. A row that is -inf throughout gives 0
// (softmax).
#pragma once
#include "ir/builder.h"

namespace floe {

Value softmax(Builder& b, Value x);
Value log_softmax(Builder& b, Value x);

}  // namespace floe
