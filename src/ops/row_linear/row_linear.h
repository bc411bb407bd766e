// row_linear: act(norm(x) w^T + bias) + residual, what a layer of a Transformer does to a row between two
// attentions, as one op. A kernel of it gives a row the same bits however many rows there are.
//   x [..., in], w [out, in]; gamma [in] (and beta [in]) where there is a norm; bias [out], residual [...,
//   out] where wanted -> y [..., out]; with keep_norm also norm(x) [..., in], in the type of x.
// The normed row is rounded to the type of x, as the norm op alone would give it; sums, bias, activation and
// residual are f32 (f64 for f64), and y is rounded once, to the type "out". A pass makes it
// (passes/row_products.h) from the graphs of inference.
#pragma once
#include <string>

#include "ir/builder.h"

namespace floe {

struct RowLinearArgs {
  Value x, w;
  std::string norm = "";  // "layer_norm", "rms_norm": gamma, and for layer_norm beta, must be there
  Value gamma = {}, beta = {};
  double eps = 0;
  bool keep_norm = false;
  Value bias = {}, residual = {};
  std::string activation = "";  // as matmul's
  DType out = DType::f32;
};

struct RowLinear {
  Value y;
  Value normed;  // with keep_norm
};
RowLinear row_linear(Builder& b, const RowLinearArgs& args);

}  // namespace floe
