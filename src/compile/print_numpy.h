// A fused pointwise group as NumPy: readable, and the same numbers as the tile interpreter's (the polynomials
// are printed too, since np.exp and its kin round otherwise and erf is not there). For looking at what a
// graph computes.
#pragma once
#include <string>
#include <string_view>

#include "tensor/scalar.h"
#include "tensor/tensor.h"

namespace floe {

// The imports and the scalar functions, once a file.
std::string numpy_prelude();

// def NAME(x0, x1, ...): arrays in, a tuple of arrays of `shape` out. Raises ZeroDivisionError where integers
// divide by zero.
std::string numpy_group(std::string_view name, const Tape& tape, const Shape& shape);

// def NAME(x0, x1, ...): the first result, in whatever shape the operands broadcast to. No random numbers.
std::string numpy_function(std::string_view name, const Tape& tape);

}  // namespace floe
