// Quantization: 8-bit integers, scales and zero points as values.
#include "frontend/onnx_call.h"
#include "frontend/onnx_tensor.h"
#include "frontend/onnx_values.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reshape/reshape.h"

namespace floe {
namespace {

using C = OnnxCall&;

struct Ends {
  double low, high;
};
Ends ends_of(C c, DType dtype) {
  if (dtype == DType::u8) return {0, 255};
  if (dtype == DType::i8) return {-128, 127};
  c.fail("quantization to {} is not supported", name_of(dtype));
}

// A scale or zero point beside x: one number, one for each entry of an axis, or one for each block along it.
Value beside(C c, Value v, const Type& x) {
  const Type type = c.b.type(v);
  if (type.rank() == 0 || (type.rank() == 1 && type.dim(0) == Dim(1))) return reshape(c.b, v, {});
  const int axis = c.axis(c.integer("axis", 1), x.rank());
  const int64_t block = c.integer("block_size", 0);
  if (block == 0) {
    if (type.rank() != 1) c.fail("scales {} for {}", text_of(type), text_of(x));
    Dims dims(x.dims.size(), Dim(1));
    dims[static_cast<size_t>(axis)] = type.dim(0);
    return reshape(c.b, v, dims);
  }
  if (type.rank() != x.rank() || type.dim(axis) * Dim(block) != x.dim(axis))
    c.fail("scales {} in blocks of {} for {}", text_of(type), block, text_of(x));
  Dims apart = type.dims;
  apart.insert(apart.begin() + axis + 1, Dim(1));
  Dims spread = apart;
  spread[static_cast<size_t>(axis) + 1] = Dim(block);
  return reshape(c.b, broadcast(c.b, reshape(c.b, v, apart), spread), x.dims);
}

Value quantized(C c, Value scaled, Value zero, DType dtype) {  // scaled in f32
  const Ends ends = ends_of(c, dtype);
  Value y = elementwise(c.b, "round", {scaled});
  if (zero) y = add(c.b, y, cast(c.b, zero, DType::f32));
  return cast(c.b, clamp(c.b, y, ends.low, ends.high), dtype);
}

Values quantize(C c) {
  const Type x = c.type(0);
  DType dtype = c.has(2) ? c.type(2).dtype : DType::u8;
  if (const int64_t asked = c.integer("output_dtype", 0); asked != 0)
    dtype = dtype_of_onnx(static_cast<int32_t>(asked));
  const Value factor = cast(c.b, beside(c, c.x(1), x), DType::f32);
  const Value scaled = div(c.b, cast(c.b, c.x(0), DType::f32), factor);
  return {quantized(c, scaled, c.has(2) ? beside(c, c.in[2], x) : Value{}, dtype)};
}

// i32, so that no difference wraps.
Value centred(C c, Value q, Value zero) {
  const Value wide = cast(c.b, q, DType::i32);
  return zero ? sub(c.b, wide, cast(c.b, zero, DType::i32)) : wide;
}

Values dequantize(C c) {
  const Type x = c.type(0);
  const Value q = centred(c, c.x(0), c.has(2) ? beside(c, c.in[2], x) : Value{});
  const DType dtype = c.type(1).dtype;
  const Value y = mul(c.b, cast(c.b, q, DType::f32), cast(c.b, beside(c, c.x(1), x), DType::f32));
  return {cast(c.b, y, dtype)};
}

Values dynamic_quantize(C c) {
  std::vector<int64_t> all;
  for (int i = 0; i < c.rank(); ++i) all.push_back(i);
  const auto fn = [&](const char* name, Value x, Value y) { return elementwise(c.b, name, {x, y}); };
  const Value zero = c.b.scalar(0);
  const Value high = fn("max", max_over(c.b, c.x(), all, false), zero);
  const Value low = fn("min", min_over(c.b, c.x(), all, false), zero);
  const Value factor = div(c.b, sub(c.b, high, low), c.b.scalar(255));
  const Value point = elementwise(c.b, "round", {clamp(c.b, div(c.b, sub(c.b, zero, low), factor), 0, 255)});
  const Value zero_point = cast(c.b, point, DType::u8);
  return {quantized(c, div(c.b, c.x(), factor), zero_point, DType::u8), factor, zero_point};
}

// A zero point of a row of a, [M], stands beside [M, K].
Value of_rows(C c, Value v) {
  const Type type = c.b.type(v);
  if (type.rank() != 1 || type.dim(0) == Dim(1)) return v;
  return reshape(c.b, v, {type.dim(0), Dim(1)});
}

Values integer_product(C c) {
  const Value a = centred(c, c.x(0), c.has(2) ? of_rows(c, c.in[2]) : Value{});
  return {numpy_matmul(c.b, a, centred(c, c.x(1), c.has(3) ? c.in[3] : Value{}))};
}

Values quantized_product(C c) {
  const Value product = numpy_matmul(c.b, centred(c, c.x(0), of_rows(c, c.x(2))), centred(c, c.x(3), c.x(5)));
  const auto number = [&](size_t i) { return cast(c.b, c.x(i), DType::f32); };
  const Value factor = div(c.b, mul(c.b, of_rows(c, number(1)), number(4)), number(6));
  return {quantized(c, mul(c.b, cast(c.b, product, DType::f32), factor), c.x(7), c.type(7).dtype)};
}

}  // namespace

void add_onnx_quantize(OnnxRules& rules) {
  const OnnxRules mine = {
      {"QuantizeLinear", quantize},
      {"DequantizeLinear", dequantize},
      {"DynamicQuantizeLinear", dynamic_quantize},
      {"MatMulInteger", integer_product},
      {"QLinearMatMul", quantized_product},
  };
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe
