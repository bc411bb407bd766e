// Matrix products.
#include "frontend/onnx_call.h"
#include "frontend/onnx_values.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/matmul.h"
#include "ops/transpose/transpose.h"

namespace floe {
namespace {

using C = OnnxCall&;

Values matrix_product(C c) { return {numpy_matmul(c.b, c.x(0), c.x(1))}; }

// alpha a b + beta c
Values gemm(C c) {
  if (c.rank(0) != 2 || c.rank(1) != 2)
    c.fail("operands must be matrices, are {} and {}", text_of(c.type(0)), text_of(c.type(1)));
  const double alpha = c.number("alpha", 1), beta = c.number("beta", 1);
  const bool ta = c.integer("transA", 0) != 0, tb = c.integer("transB", 0) != 0;
  if (!is_float(c.type().dtype)) {
    if (alpha != 1 || beta != 1) c.fail("alpha and beta must be 1 for integers");
    const Value y = cast(
        c.b,
        numpy_matmul(c.b, ta ? swap_last_two(c.b, c.x(0)) : c.x(0), tb ? swap_last_two(c.b, c.x(1)) : c.x(1)),
        c.type().dtype);
    return {c.has(2) ? add(c.b, y, c.in[2]) : y};
  }
  MatmulOptions options{.transpose_a = ta, .transpose_b = tb};
  const bool bias =
      c.has(2) && alpha == 1 && beta == 1 && c.rank(2) == 1 && c.type(2).dim(0) == c.type(1).dim(tb ? 0 : 1);
  if (bias) options.bias = c.in[2];
  Value y = matmul(c.b, c.x(0), c.x(1), options);
  if (alpha != 1) y = scale(c.b, y, alpha);
  if (c.has(2) && !bias) y = add(c.b, y, beta == 1 ? c.in[2] : scale(c.b, c.in[2], beta));
  return {y};
}

}  // namespace

void add_onnx_product(OnnxRules& rules) {
  const OnnxRules mine = {{"MatMul", matrix_product}, {"Gemm", gemm}};
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe
