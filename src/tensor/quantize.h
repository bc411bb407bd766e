// INT8 as everybody here has it: a real number x is a code q in -127..127 times a positive f32 scale,
//   q = clamp(round(x * (1 / scale)), -127, 127),   x' = q * scale,
// with rounding half to even, the reciprocal rounded to f32 before the product is. Symmetric: 0 is 0, and
// -128 never occurs, so that a negated code is a code. CPU, GPU, evaluator and files share these lines, so
// that what is simulated in floats ("fake") and what runs in integers ("real") have the same codes, bit for
// bit.
//
// NaN and infinity: they have the code 0, and an absolute maximum that is NaN or infinite gives a scale that
// is: a row that holds one dequantizes to NaN in every element, as far as the scale reaches and no further.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace floe {

constexpr float kMostCode = 127;
// Below, a scale has no finite reciprocal; such a row, an all-zero one too, has scale 1 and codes 0. The
// guard is on the scale that was computed, not on the data.
constexpr float kLeastScale = 0x1p-126f;

// An int32 holds the sum of so many products of two codes, -128 among them.
constexpr int64_t kMostInt8Depth = std::numeric_limits<int32_t>::max() / (128 * 128);

inline float scale_for(float absmax) {
  const float scale = absmax / kMostCode;
  return scale < kLeastScale ? 1.0f : scale;
}
inline float reciprocal(float scale) { return 1.0f / scale; }
inline int8_t quantized(float x, float reciprocal_of_scale) {
  const float v = x * reciprocal_of_scale;
  if (std::isnan(v)) return 0;
  const float clamped = v < -kMostCode ? -kMostCode : (v > kMostCode ? kMostCode : v);
  return static_cast<int8_t>(std::nearbyint(clamped));  // in the default rounding mode: half to even
}
inline float dequantized(int8_t code, float scale) { return static_cast<float>(code) * scale; }

// Beside a weight NAME of codes: the scales of its rows, f32 [rows, 1], and where it was calibrated the scale
// of what it is multiplied with, f32 [].
inline std::string scale_name(std::string_view weight) { return std::string(weight) + ".scale"; }
inline std::string input_scale_name(std::string_view weight) { return std::string(weight) + ".input_scale"; }

// Each row of a matrix [rows, n] with a scale of its own: of a weight, its output channels.
struct QuantizedMatrix {
  Tensor codes;   // i8 [rows, n]
  Tensor scales;  // f32 [rows, 1]
};
// Of f32. Throws Error{user} with `name` when an element is NaN or infinite.
QuantizedMatrix quantize_rows(const Tensor& matrix, std::string_view name);
Tensor dequantize_rows(const Tensor& codes, const Tensor& scales);

}  // namespace floe
