// slice: `length` entries of one axis from `begin` on.
#pragma once
#include "ir/builder.h"

namespace floe {

Value slice(Builder& b, Value x, int64_t axis, Dim begin, Dim length);

}  // namespace floe
