#include "tensor/quantize.h"

#include <algorithm>

#include "base/error.h"

namespace floe {

QuantizedMatrix quantize_rows(const Tensor& matrix, std::string_view name) {
  FLOE_CHECK(matrix.dtype() == DType::f32 && matrix.shape().size() == 2, "'{}' is no f32 matrix", name);
  const int64_t rows = matrix.shape()[0], n = matrix.shape()[1];
  QuantizedMatrix out{Tensor(DType::i8, matrix.shape()), Tensor(DType::f32, {rows, 1})};
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = matrix.as<float>() + row * n;
    float absmax = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (!std::isfinite(from[i]))
        fail_user("'{}' holds {} in row {}: it cannot be INT8", name, from[i], row);
      absmax = std::max(absmax, std::fabs(from[i]));
    }
    const float scale = scale_for(absmax), inverse = reciprocal(scale);
    out.scales.as<float>()[row] = scale;
    int8_t* to = out.codes.as<int8_t>() + row * n;
    for (int64_t i = 0; i < n; ++i) to[i] = quantized(from[i], inverse);
  }
  return out;
}

Tensor dequantize_rows(const Tensor& codes, const Tensor& scales) {
  const int64_t rows = codes.shape()[0], n = codes.shape()[1];
  FLOE_CHECK(scales.size() == rows, "{} scales for {} rows", scales.size(), rows);
  Tensor out(DType::f32, codes.shape());
  for (int64_t at = 0; at < rows * n; ++at)
    out.as<float>()[at] = dequantized(codes.as<int8_t>()[at], scales.as<float>()[at / n]);
  return out;
}

}  // namespace floe
