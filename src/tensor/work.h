// What a step of a program must do at the least, whatever kernel does it: the floor under its time.
#pragma once
#include "tensor/dim.h"
#include "tensor/dtype.h"

namespace floe {

struct Work {
  Dim flops;  // scalar operations; a multiply-add counts two, exp or tanh one
  Dim bytes;  // every operand read once, every result written once
  // The operands of its matrix products: they decide which ceiling the arithmetic has. f32 where there are
  // none, since everything else is computed in f32.
  DType products = DType::f32;
};

}  // namespace floe
