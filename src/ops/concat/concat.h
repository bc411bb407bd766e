// concat: values one after the other along an axis.
#pragma once
#include "ir/builder.h"

namespace floe {

Value concat(Builder& b, Values values, int64_t axis);

}  // namespace floe
