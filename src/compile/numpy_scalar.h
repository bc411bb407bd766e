// One instruction of a tape as a NumPy expression, for groups and for graphs.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "tensor/scalar.h"

namespace floe {

// "np.float32". Throws Error{user} for a type that has no printed form.
std::string_view numpy_type(DType type);

std::string numpy_literal(DType type, double value);  // "np.float32(0.5)"

// Instruction r of the tape, which is no input, over its operands: names or literals, without blanks. For
// `uniform`, `shape` is the iteration space's.
std::string numpy_expression(const Tape& tape, int32_t r, std::span<const std::string> operands,
                             std::string_view shape);

}  // namespace floe
