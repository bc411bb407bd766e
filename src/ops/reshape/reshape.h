// reshape: the same elements in row-major order under other dims; never copies.
#pragma once
#include "ir/builder.h"

namespace floe {

Value reshape(Builder& b, Value x, Dims dims);  // x itself when it has those dims

}  // namespace floe
