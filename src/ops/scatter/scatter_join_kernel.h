// How scatter joins an element with an update; the same on every device.
#pragma once
#include <cstdint>
#include <string>
#include <type_traits>

#if defined(__CUDACC__)
#define FLOE_JOIN_DEVICE __host__ __device__
#else
#define FLOE_JOIN_DEVICE
#endif

namespace floe {

enum class Join { none, add, mul, max, min };

inline Join join_of(const std::string& name) {
  return name == "add"   ? Join::add
         : name == "mul" ? Join::mul
         : name == "max" ? Join::max
         : name == "min" ? Join::min
                         : Join::none;
}

// Integers wrap; a NaN wins.
template <class T>
FLOE_JOIN_DEVICE inline T joined(Join join, T a, T b) {
  switch (join) {
    case Join::add:
    case Join::mul:
      if constexpr (std::is_integral_v<T>) {
        using U = std::make_unsigned_t<T>;
        const uint64_t ua = static_cast<U>(a), ub = static_cast<U>(b);
        return static_cast<T>(join == Join::add ? ua + ub : ua * ub);
      } else {
        return join == Join::add ? a + b : a * b;
      }
    case Join::max:
      return a != a ? a : (a > b ? a : b);
    case Join::min:
      return a != a ? a : (a < b ? a : b);
    case Join::none:
      break;
  }
  return b;
}

}  // namespace floe
