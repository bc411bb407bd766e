// One instruction of a tape as a C++ expression over registers r0, r1, ...: what printed C++ and CUDA have in
// common, so that both compute alike. The scalar functions are those of kernel/cpu/scalar_math.h.
#pragma once
#include <string>

#include "tensor/scalar.h"

namespace floe {

// The type of a register. bf16 and f16 are computed in float.
std::string register_type(DType type);

// Any instruction but `input` and `uniform`. A cast to bf16 or f16 is the float before rounding. Dividing an
// integer by zero is the caller's matter. Throws Error{user} for f64.
std::string scalar_expression(const Tape& tape, const ScalarInstr& instr);

}  // namespace floe
