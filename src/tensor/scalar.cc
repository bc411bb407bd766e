#include "tensor/scalar.h"

#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"

namespace floe {
namespace {

struct Row {
  ScalarOp op;
  ScalarOpInfo info;
};

constexpr Row kRows[] = {
    {ScalarOp::input, {"input", 0}},
    {ScalarOp::constant, {"constant", 0}},
    {ScalarOp::add, {"add", 2}},
    {ScalarOp::sub, {"sub", 2}},
    {ScalarOp::mul, {"mul", 2}},
    {ScalarOp::div, {"div", 2}},
    {ScalarOp::neg, {"neg", 1}},
    {ScalarOp::abs, {"abs", 1}},
    {ScalarOp::sqrt, {"sqrt", 1}},
    {ScalarOp::floor, {"floor", 1}},
    {ScalarOp::round, {"round", 1}},
    {ScalarOp::max, {"max", 2}},
    {ScalarOp::min, {"min", 2}},
    {ScalarOp::exp, {"exp", 1}},
    {ScalarOp::log, {"log", 1}},
    {ScalarOp::tanh, {"tanh", 1}},
    {ScalarOp::erf, {"erf", 1}},
    {ScalarOp::sin, {"sin", 1}},
    {ScalarOp::cos, {"cos", 1}},
    {ScalarOp::pow, {"pow", 2}},
    {ScalarOp::floordiv, {"floordiv", 2}},
    {ScalarOp::rem, {"rem", 2}},
    {ScalarOp::lt, {"lt", 2}},
    {ScalarOp::le, {"le", 2}},
    {ScalarOp::eq, {"eq", 2}},
    {ScalarOp::ne, {"ne", 2}},
    {ScalarOp::logical_and, {"logical_and", 2}},
    {ScalarOp::logical_or, {"logical_or", 2}},
    {ScalarOp::logical_not, {"logical_not", 1}},
    {ScalarOp::bit_and, {"bit_and", 2}},
    {ScalarOp::bit_or, {"bit_or", 2}},
    {ScalarOp::bit_xor, {"bit_xor", 2}},
    {ScalarOp::shift_left, {"shift_left", 2}},
    {ScalarOp::shift_right, {"shift_right", 2}},
    {ScalarOp::select, {"select", 3}},
    {ScalarOp::cast, {"cast", 1}},
    {ScalarOp::uniform, {"uniform", 2}},
};

int64_t wrap(DType type, int64_t value) {
  switch (type) {
    case DType::i8:
      return static_cast<int8_t>(value);
    case DType::u8:
      return static_cast<uint8_t>(value);
    case DType::i32:
      return static_cast<int32_t>(value);
    case DType::boolean:
      return value != 0 ? 1 : 0;
    default:
      return value;
  }
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) fail_user("integer division by zero");
  if (b == -1) return static_cast<int64_t>(-static_cast<uint64_t>(a));  // INT_MIN wraps
  const int64_t q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

double python_floordiv(double a, double b) {
  if (b == 0) return a / b;
  double mod = std::fmod(a, b);
  double div = (a - mod) / b;
  if (mod != 0 && ((b < 0) != (mod < 0))) div -= 1;
  if (div == 0) return std::copysign(0.0, a / b);
  double floored = std::floor(div);
  if (div - floored > 0.5) floored += 1;
  return floored;
}

double python_mod(double a, double b) {
  double mod = std::fmod(a, b);
  if (mod != 0 && ((b < 0) != (mod < 0))) mod += b;
  if (mod == 0) mod = std::copysign(0.0, b);
  return mod;
}

double apply_float(ScalarOp op, double a, double b) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  switch (op) {
    case ScalarOp::add:
      return a + b;
    case ScalarOp::sub:
      return a - b;
    case ScalarOp::mul:
      return a * b;
    case ScalarOp::div:
      return a / b;
    case ScalarOp::neg:
      return -a;
    case ScalarOp::abs:
      return std::fabs(a);
    case ScalarOp::sqrt:
      return std::sqrt(a);
    case ScalarOp::floor:
      return std::floor(a);
    case ScalarOp::round:
      return std::nearbyint(a);
    case ScalarOp::max:
      return std::isnan(a) || std::isnan(b) ? nan : (a > b ? a : b);
    case ScalarOp::min:
      return std::isnan(a) || std::isnan(b) ? nan : (a < b ? a : b);
    case ScalarOp::exp:
      return std::exp(a);
    case ScalarOp::log:
      return std::log(a);
    case ScalarOp::tanh:
      return std::tanh(a);
    case ScalarOp::erf:
      return std::erf(a);
    case ScalarOp::sin:
      return std::sin(a);
    case ScalarOp::cos:
      return std::cos(a);
    case ScalarOp::pow:
      return std::pow(a, b);
    case ScalarOp::floordiv:
      return python_floordiv(a, b);
    case ScalarOp::rem:
      return python_mod(a, b);
    default:
      break;
  }
  fail_bug(__FILE__, __LINE__, fmt::format("scalar op '{}' on floats", info_of(op).name));
}

int64_t apply_int(ScalarOp op, int64_t a, int64_t b) {
  const auto ua = static_cast<uint64_t>(a);
  const auto ub = static_cast<uint64_t>(b);
  switch (op) {
    case ScalarOp::add:
      return static_cast<int64_t>(ua + ub);
    case ScalarOp::sub:
      return static_cast<int64_t>(ua - ub);
    case ScalarOp::mul:
      return static_cast<int64_t>(ua * ub);
    case ScalarOp::neg:
      return static_cast<int64_t>(-ua);
    case ScalarOp::abs:
      return a < 0 ? static_cast<int64_t>(-ua) : a;
    case ScalarOp::floor:
    case ScalarOp::round:
      return a;
    case ScalarOp::max:
      return a > b ? a : b;
    case ScalarOp::min:
      return a < b ? a : b;
    case ScalarOp::floordiv:
      return floor_divide(a, b);
    case ScalarOp::rem:
      return static_cast<int64_t>(ua - static_cast<uint64_t>(floor_divide(a, b)) * ub);
    case ScalarOp::bit_and:
      return a & b;
    case ScalarOp::bit_or:
      return a | b;
    case ScalarOp::bit_xor:
      return a ^ b;
    case ScalarOp::shift_left:
      return b < 0 || b > 63 ? 0 : static_cast<int64_t>(ua << ub);
    case ScalarOp::shift_right:
      return b < 0 || b > 63 ? (a < 0 ? -1 : 0) : a >> b;
    case ScalarOp::logical_and:
      return (a != 0 && b != 0) ? 1 : 0;
    case ScalarOp::logical_or:
      return (a != 0 || b != 0) ? 1 : 0;
    case ScalarOp::logical_not:
      return a == 0 ? 1 : 0;
    default:
      break;
  }
  fail_bug(__FILE__, __LINE__, fmt::format("scalar op '{}' on integers", info_of(op).name));
}

template <class T>
bool compare(ScalarOp op, T a, T b) {
  switch (op) {
    case ScalarOp::lt:
      return a < b;
    case ScalarOp::le:
      return a <= b;
    case ScalarOp::eq:
      return a == b;
    default:
      return a != b;
  }
}

}  // namespace

ScalarOpInfo info_of(ScalarOp op) { return kRows[static_cast<size_t>(op)].info; }

bool find_scalar_op(std::string_view name, ScalarOp* op) {
  for (const Row& row : kRows) {
    if (row.info.name == name) {
      *op = row.op;
      return true;
    }
  }
  return false;
}

ScalarValue apply(const ScalarInstr& instr, ScalarValue a, ScalarValue b, ScalarValue c, DType operand_type) {
  ScalarValue out;
  switch (instr.op) {
    case ScalarOp::constant:
      out.f = instr.imm;
      out.i = is_float(instr.type) ? 0 : wrap(instr.type, static_cast<int64_t>(instr.imm));
      return out;
    case ScalarOp::lt:
    case ScalarOp::le:
    case ScalarOp::eq:
    case ScalarOp::ne:
      out.i = is_float(operand_type) ? compare(instr.op, a.f, b.f) : compare(instr.op, a.i, b.i);
      return out;
    case ScalarOp::select:
      return a.i != 0 ? b : c;
    case ScalarOp::cast:
      if (is_float(instr.type)) {
        out.f = is_float(operand_type) ? round_to(instr.type, a.f) : static_cast<double>(a.i);
      } else if (is_float(operand_type)) {
        // Truncation; out of range and NaN are clamped, never undefined.
        if (instr.type == DType::boolean) {
          out.i = a.f != 0 ? 1 : 0;
        } else if (std::isnan(a.f)) {
          out.i = 0;
        } else {
          const double clamped = std::fmin(std::fmax(a.f, -9.2233720368547758e18), 9.2233720368547748e18);
          out.i = wrap(instr.type, static_cast<int64_t>(clamped));
        }
      } else {
        out.i = wrap(instr.type, a.i);
      }
      return out;
    default:
      break;
  }
  if (is_float(operand_type)) {
    out.f = apply_float(instr.op, a.f, b.f);
  } else {
    out.i = wrap(instr.type, apply_int(instr.op, a.i, b.i));
  }
  return out;
}

std::string text_of(const Tape& tape) {
  std::string out;
  for (size_t i = 0; i < tape.code.size(); ++i) {
    const ScalarInstr& instr = tape.code[i];
    const ScalarOpInfo info = info_of(instr.op);
    out += fmt::format("r{} = {}", i, info.name);
    const int32_t operands[] = {instr.a, instr.b, instr.c};
    for (int k = 0; k < info.arity; ++k) out += fmt::format("{}r{}", k == 0 ? " " : ", ", operands[k]);
    if (instr.op == ScalarOp::input || instr.op == ScalarOp::constant || instr.op == ScalarOp::uniform) {
      out += fmt::format(" {}", instr.imm);
    }
    out += fmt::format(" : {}\n", name_of(instr.type));
  }
  out += "out";
  for (const int32_t reg : tape.outputs) out += fmt::format(" r{}", reg);
  return out + "\n";
}

TapeBuilder::TapeBuilder(int inputs, DType type) : type_(type) {
  tape_.inputs = inputs;
  for (int i = 0; i < inputs; ++i) emit(ScalarOp::input, type, -1, -1, -1, i);
}

ScalarExpr TapeBuilder::constant(double value) { return emit(ScalarOp::constant, type_, -1, -1, -1, value); }

ScalarExpr TapeBuilder::emit(ScalarOp op, DType type, int32_t a, int32_t b, int32_t c, double imm) {
  tape_.code.push_back({op, type, a, b, c, imm});
  return {this, static_cast<int32_t>(tape_.code.size()) - 1};
}

namespace {
ScalarExpr unary(ScalarOp op, ScalarExpr a) { return a.tape->emit(op, a.tape->type(), a.reg); }
ScalarExpr binary(ScalarOp op, ScalarExpr a, ScalarExpr b) {
  return a.tape->emit(op, a.tape->type(), a.reg, b.reg);
}
}  // namespace

ScalarExpr operator+(ScalarExpr a, ScalarExpr b) { return binary(ScalarOp::add, a, b); }
ScalarExpr operator-(ScalarExpr a, ScalarExpr b) { return binary(ScalarOp::sub, a, b); }
ScalarExpr operator*(ScalarExpr a, ScalarExpr b) { return binary(ScalarOp::mul, a, b); }
ScalarExpr operator/(ScalarExpr a, ScalarExpr b) { return binary(ScalarOp::div, a, b); }
ScalarExpr operator-(ScalarExpr a) { return unary(ScalarOp::neg, a); }
ScalarExpr operator+(double a, ScalarExpr b) { return b.tape->constant(a) + b; }
ScalarExpr operator-(double a, ScalarExpr b) { return b.tape->constant(a) - b; }
ScalarExpr operator*(double a, ScalarExpr b) { return b.tape->constant(a) * b; }
ScalarExpr operator/(double a, ScalarExpr b) { return b.tape->constant(a) / b; }
ScalarExpr operator+(ScalarExpr a, double b) { return a + a.tape->constant(b); }
ScalarExpr operator-(ScalarExpr a, double b) { return a - a.tape->constant(b); }
ScalarExpr operator*(ScalarExpr a, double b) { return a * a.tape->constant(b); }
ScalarExpr operator/(ScalarExpr a, double b) { return a / a.tape->constant(b); }
ScalarExpr exp(ScalarExpr a) { return unary(ScalarOp::exp, a); }
ScalarExpr log(ScalarExpr a) { return unary(ScalarOp::log, a); }
ScalarExpr tanh(ScalarExpr a) { return unary(ScalarOp::tanh, a); }
ScalarExpr erf(ScalarExpr a) { return unary(ScalarOp::erf, a); }
ScalarExpr sqrt(ScalarExpr a) { return unary(ScalarOp::sqrt, a); }
ScalarExpr abs(ScalarExpr a) { return unary(ScalarOp::abs, a); }
ScalarExpr sin(ScalarExpr a) { return unary(ScalarOp::sin, a); }
ScalarExpr cos(ScalarExpr a) { return unary(ScalarOp::cos, a); }
ScalarExpr max(ScalarExpr a, ScalarExpr b) { return binary(ScalarOp::max, a, b); }
ScalarExpr min(ScalarExpr a, ScalarExpr b) { return binary(ScalarOp::min, a, b); }
ScalarExpr pow(ScalarExpr a, ScalarExpr b) { return binary(ScalarOp::pow, a, b); }
ScalarExpr less(ScalarExpr a, ScalarExpr b) {
  return a.tape->emit(ScalarOp::lt, DType::boolean, a.reg, b.reg);
}
ScalarExpr equal(ScalarExpr a, ScalarExpr b) {
  return a.tape->emit(ScalarOp::eq, DType::boolean, a.reg, b.reg);
}
ScalarExpr select(ScalarExpr condition, ScalarExpr a, ScalarExpr b) {
  return a.tape->emit(ScalarOp::select, a.tape->type(), condition.reg, a.reg, b.reg);
}

}  // namespace floe
