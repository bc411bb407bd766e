// One step of a program over the printable ops as a C++ function: plain loops. Sums are held in double, so
// that adding one by one costs no accuracy; groups are printed by print_cpp.h.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "tensor/attrs.h"
#include "tensor/tensor.h"

namespace floe {

struct CppStep {
  std::string_view op;  // a printable op, "group" or "copy"
  const Attrs& attrs;   // dims already numbers; of a group: "tape"
  std::span<const View> inputs;
  std::span<const View> outputs;  // overlap nothing
};

// static int NAME(const void* const* inputs, void* const* outputs): 0, or 1 where a value cannot be computed:
// an integer divided by zero, an id or a position outside its table.
std::string cpp_step(std::string_view name, const CppStep& step);

}  // namespace floe
