// matmul: [..., m, k] x [k, n] or [..., k, n] -> [..., m, n], with a bias [n] and an activation if wanted.
// Attribute "out" = f32 gives the sums of 2-byte operands as they are, not rounded to the operands' type; a
// bias then is f32 too. For gradients of weights.
#pragma once
#include <string>

#include "ir/builder.h"

namespace floe {

struct MatmulOptions {
  bool transpose_a = false;  // a is [..., k, m]; against a b of rank 2 only for an a of rank 2
  bool transpose_b = false;  // b is [..., n, k]
  Value bias = {};
  std::string activation = "";  // a unary row of ops/elementwise/functions.h
};
Value matmul(Builder& b, Value x, Value y, const MatmulOptions& options = {});

// x [..., in] times w [out, in] transposed, plus bias [out] if there is one.
Value linear(Builder& b, Value x, Value w, Value bias = {});

}  // namespace floe
