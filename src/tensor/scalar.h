// Scalar functions as data. A Tape is straight-line code over some thirty primitives; one tape is run by the
// reference evaluator in double, by the CPU's tile interpreter, and printed as C++ or NumPy. Composite
// functions (gelu, silu, ...) are rows of tapes in ops/elementwise/functions.h, and a fused pointwise group
// lowers to one tape.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace floe {

enum class ScalarOp : uint8_t {
  input,     // imm = which input
  constant,  // imm = value
  add,
  sub,
  mul,
  div,
  neg,
  abs,
  sqrt,
  floor,
  round,  // round: half to even
  max,
  min,  // NaN in either operand gives NaN
  exp,
  log,
  tanh,
  erf,
  sin,
  cos,
  pow,
  floordiv,
  rem,  // as in Python; integers wrap
  lt,
  le,
  eq,
  ne,
  logical_and,
  logical_or,
  logical_not,
  bit_and,
  bit_or,
  bit_xor,
  shift_left,
  shift_right,  // of integers; a shift by what no width has gives 0 or, right of a negative, -1
  select,       // a ? b : c
  cast,         // to this instruction's type
  uniform,      // Philox4x32-10 in [0, 1): a = seed, b = ordinal, imm = op id; coordinates from the iteration
                // space
};

struct ScalarOpInfo {
  std::string_view name;
  int arity;
};
ScalarOpInfo info_of(ScalarOp op);
bool find_scalar_op(std::string_view name, ScalarOp* op);

struct ScalarInstr {
  ScalarOp op = ScalarOp::constant;
  DType type = DType::f32;  // of the result
  int32_t a = -1, b = -1, c = -1;
  double imm = 0;
  bool operator==(const ScalarInstr&) const = default;
};

struct Tape {
  int inputs = 0;
  std::vector<ScalarInstr> code;  // instruction i defines register i
  std::vector<int32_t> outputs;   // registers
  bool operator==(const Tape&) const = default;
};

std::string text_of(const Tape& tape);

// One element, floats in double and not rounded, integers and booleans exact in int64 and wrapped to their
// type. `uniform` is not allowed here. Bools are 0 or 1.
struct ScalarValue {
  double f = 0;
  int64_t i = 0;
};
ScalarValue apply(const ScalarInstr& instr, ScalarValue a, ScalarValue b, ScalarValue c, DType operand_type);

// Writes a tape as one writes a formula: ScalarExpr x = f.input(0); f.result(0.5 * x * (1.0 + erf(x *
// kInvSqrt2))).
class TapeBuilder;
struct ScalarExpr {
  TapeBuilder* tape = nullptr;
  int32_t reg = -1;
};
class TapeBuilder {
 public:
  explicit TapeBuilder(int inputs, DType type = DType::f32);
  ScalarExpr input(int i) { return {this, i}; }
  ScalarExpr constant(double value);
  ScalarExpr emit(ScalarOp op, DType type, int32_t a, int32_t b = -1, int32_t c = -1, double imm = 0);
  void result(ScalarExpr value) { tape_.outputs.push_back(value.reg); }
  Tape take() { return std::move(tape_); }
  DType type() const { return type_; }

 private:
  DType type_;
  Tape tape_;
};

ScalarExpr operator+(ScalarExpr a, ScalarExpr b);
ScalarExpr operator-(ScalarExpr a, ScalarExpr b);
ScalarExpr operator*(ScalarExpr a, ScalarExpr b);
ScalarExpr operator/(ScalarExpr a, ScalarExpr b);
ScalarExpr operator-(ScalarExpr a);
ScalarExpr operator+(double a, ScalarExpr b);
ScalarExpr operator-(double a, ScalarExpr b);
ScalarExpr operator*(double a, ScalarExpr b);
ScalarExpr operator/(double a, ScalarExpr b);
ScalarExpr operator+(ScalarExpr a, double b);
ScalarExpr operator-(ScalarExpr a, double b);
ScalarExpr operator*(ScalarExpr a, double b);
ScalarExpr operator/(ScalarExpr a, double b);
ScalarExpr exp(ScalarExpr a);
ScalarExpr log(ScalarExpr a);
ScalarExpr tanh(ScalarExpr a);
ScalarExpr erf(ScalarExpr a);
ScalarExpr sqrt(ScalarExpr a);
ScalarExpr abs(ScalarExpr a);
ScalarExpr sin(ScalarExpr a);
ScalarExpr cos(ScalarExpr a);
ScalarExpr max(ScalarExpr a, ScalarExpr b);
ScalarExpr min(ScalarExpr a, ScalarExpr b);
ScalarExpr pow(ScalarExpr a, ScalarExpr b);
ScalarExpr less(ScalarExpr a, ScalarExpr b);
ScalarExpr equal(ScalarExpr a, ScalarExpr b);
ScalarExpr select(ScalarExpr condition, ScalarExpr a, ScalarExpr b);

}  // namespace floe
