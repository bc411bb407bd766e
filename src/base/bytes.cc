#include "base/bytes.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>

#include "base/error.h"

namespace floe {
namespace {

struct Unit {
  std::string_view name;
  size_t bytes;
};
constexpr Unit kUnits[] = {
    {"TiB", size_t{1} << 40}, {"GiB", size_t{1} << 30}, {"MiB", size_t{1} << 20}, {"KiB", size_t{1} << 10}};

// Beyond it doubles and 64-bit sums of bytes are no longer safe, and no machine is near.
constexpr double kMost = 0x1p60;

[[noreturn]] void refuse(std::string_view text) {
  fail_user("'{}' is no amount of memory: a number of bytes above 0, or a number with KiB, MiB, GiB or TiB",
            text);
}

}  // namespace

size_t parse_bytes(std::string_view text) {
  std::string_view number = text;
  size_t scale = 1;
  for (const Unit& unit : kUnits) {
    if (!number.ends_with(unit.name)) continue;
    number.remove_suffix(unit.name.size());
    if (number.ends_with(' ')) number.remove_suffix(1);
    scale = unit.bytes;
    break;
  }
  double value = 0;
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), value, std::chars_format::fixed);
  if (error != std::errc() || end != number.data() + number.size()) refuse(text);
  const double bytes = value * static_cast<double>(scale);
  if (!(bytes >= 1 && bytes <= kMost)) refuse(text);
  if (scale == 1 && bytes != std::floor(bytes)) refuse(text);
  return static_cast<size_t>(bytes);
}

std::string exact_bytes(size_t bytes) {
  for (const Unit& unit : kUnits) {
    if (bytes >= unit.bytes && bytes % unit.bytes == 0)
      return fmt::format("{}{}", bytes / unit.bytes, unit.name);
  }
  return fmt::format("{}", bytes);
}

std::string rounded_bytes(size_t bytes) {
  for (const Unit& unit : kUnits) {
    if (bytes >= unit.bytes)
      return fmt::format("{:.2f} {}", static_cast<double>(bytes) / static_cast<double>(unit.bytes),
                         unit.name);
  }
  return fmt::format("{} bytes", bytes);
}

}  // namespace floe
