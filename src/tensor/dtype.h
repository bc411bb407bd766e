// Element types. Floating ones are computed in the type that the op states (docs/numerics.md); storage is
// this.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace floe {

enum class DType : uint8_t { f32, bf16, f16, f64, i8, u8, i32, i64, boolean };

constexpr size_t size_of(DType type) {
  switch (type) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return 1;
  }
  return 0;
}

constexpr bool is_float(DType type) {
  return type == DType::f32 || type == DType::bf16 || type == DType::f16 || type == DType::f64;
}
constexpr bool is_integer(DType type) { return !is_float(type) && type != DType::boolean; }

std::string_view name_of(DType type);      // "f32", "bf16", ..., "bool"
DType parse_dtype(std::string_view name);  // throws Error{user} naming the text

// bf16 and f16 as bit patterns, rounded half to even; NaN stays NaN, overflow goes to infinity.
inline float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
inline uint16_t to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
float from_f16(uint16_t bits);
uint16_t to_f16(float value);

// To a float whose last bit is set when `value` lies between two floats: rounding that to bf16 or f16 gives
// what rounding the double at once would (Boldo and Melquiond, "When double rounding is odd", 2005).
float round_to_odd(double value);

// The nearest value that `type` holds, as a double: what storing there and reading back gives.
double round_to(DType type, double value);

}  // namespace floe
