// From the f32 graph of inference to INT8, in two steps: quantize() writes down what is quantized, as codes
// and their dequantization (a Q/DQ graph); use_int8_products() makes integer products of it.
//
//   y = matmul(x, w^T)  becomes  q, s = quantize_rows(x);  y = matmul(dequantize(q, s), dequantize(wq, ws)^T)
//
// with states NAME of i8 and NAME.scale f32 [rows, 1] (tensor/quantize.h) for the state NAME. A weight with a
// calibrated input has one scale for all rows, state NAME.input_scale, in place of the rows' own. The graph
// of quantize() runs as it is: that is the simulation ("fake"), float products of dequantized codes. The
// graph of use_int8_products() is the real one. Both have the same codes, bit for bit, from the same x.
//
// Only the operands of products are quantized, never results: residuals, norms, softmax and attention stay in
// float. Activations have a scale a row, never one for the tensor, unless they are calibrated. A value that
// several products read is quantized once.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace floe {

enum class InputScale { of_row, fixed };
// The weights that are codes, by name, and how what they multiply is scaled. A weight that is not here, and
// what is multiplied with it, stays float.
using QuantizePlan = std::map<std::string, InputScale, std::less<>>;

// Weights are read by matmul (as b, transposed), by embedding, or, by any other reader, dequantized. Throws
// bug when the graph updates one.
Graph quantize(const Graph& graph, const QuantizePlan& plan);

// What is dequantized for anything but a product becomes a cast and a multiplication, for fusion.
Graph use_int8_products(const Graph& graph);

// A product that reads a weight of `names`, and what is multiplied with it: what calibration looks at.
struct ProductInput {
  std::string weight;
  int node = -1;
  Value x;
};
std::vector<ProductInput> product_inputs(const Graph& graph, const std::set<std::string, std::less<>>& names);

}  // namespace floe
