// broadcast: NumPy's broadcast_to.
#pragma once
#include "ir/builder.h"

namespace floe {

Value broadcast(Builder& b, Value x, Dims dims);  // x itself when it has those dims

}  // namespace floe
