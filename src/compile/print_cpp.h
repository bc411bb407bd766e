// A fused pointwise group as C++ source without headers: what a compiler makes of it gives the bits of the
// tile interpreter, since both compute each element with the same functions in the same order. Build with
// -ffp-contract=off.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "tensor/scalar.h"
#include "tensor/tensor.h"

namespace floe {

// The scalar functions, once a file.
std::string cpp_prelude();

enum class Linkage { external, internal };

// extern "C" int NAME(const void* const* inputs, void* const* outputs): one loop nest over the outputs' dims.
// The views give dims and strides; the outputs are row-major and overlap nothing. Returns 0, or 1 where an
// integer was divided by zero.
std::string cpp_group(std::string_view name, const Tape& tape, std::span<const View> inputs,
                      std::span<const View> outputs, Linkage linkage = Linkage::external);

}  // namespace floe
