// Builders of the element-by-element ops (rows of functions.h). Operands broadcast as in NumPy.
#pragma once
#include <span>
#include <string_view>

#include "ir/builder.h"

namespace floe {

Value elementwise(Builder& b, std::string_view function, Values operands);
inline Value add(Builder& b, Value x, Value y) { return elementwise(b, "add", {x, y}); }
inline Value sub(Builder& b, Value x, Value y) { return elementwise(b, "sub", {x, y}); }
inline Value mul(Builder& b, Value x, Value y) { return elementwise(b, "mul", {x, y}); }
inline Value div(Builder& b, Value x, Value y) { return elementwise(b, "div", {x, y}); }
inline Value select(Builder& b, Value condition, Value x, Value y) {
  return elementwise(b, "select", {condition, x, y});
}
Value cast(Builder& b, Value x, DType dtype);     // x itself when it has that type
Value scale(Builder& b, Value x, double factor);  // x * factor in x's type
Value like(Builder& b, Value x, double value);    // a rank-0 constant of x's type

// Appends the nodes of a tape on values; gives its outputs. Used by derivatives and by printers' inverse.
Values apply_tape(Builder& b, const Tape& tape, std::span<const Value> inputs);

// Sums `x` over the dims along which `type` was broadcast to x's shape: the gradient of broadcasting.
Value sum_to(Builder& b, Value x, const Type& type);

}  // namespace floe
