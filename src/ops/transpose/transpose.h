// transpose: dim i of the result is dim perm[i] of x.
#pragma once
#include <vector>

#include "ir/builder.h"

namespace floe {

Value transpose(Builder& b, Value x, std::vector<int64_t> perm);
Value swap_last_two(Builder& b, Value x);

}  // namespace floe
