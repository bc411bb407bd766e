#include "compile/numpy_scalar.h"

#include <fmt/ranges.h>

#include <cmath>

#include "base/error.h"

namespace floe {

std::string_view numpy_type(DType type) {
  switch (type) {
    case DType::f32:
      return "np.float32";
    case DType::f16:
      return "np.float16";
    case DType::i8:
      return "np.int8";
    case DType::u8:
      return "np.uint8";
    case DType::i32:
      return "np.int32";
    case DType::i64:
      return "np.int64";
    case DType::boolean:
      return "np.bool_";
    default:
      fail_user("[print_numpy] {} cannot be printed", name_of(type));
  }
}

std::string numpy_literal(DType type, double value) {
  if (type == DType::boolean) return value != 0 ? "np.bool_(True)" : "np.bool_(False)";
  if (type == DType::f16)
    return fmt::format("np.float16({})",
                       std::isfinite(value) ? fmt::format("{:.9g}", value) : fmt::format("\"{}\"", value));
  if (type != DType::f32) return fmt::format("{}({})", numpy_type(type), static_cast<int64_t>(value));
  const auto x = static_cast<float>(value);
  if (std::isnan(x)) return "np.float32(\"nan\")";
  if (std::isinf(x)) return x > 0 ? "np.float32(\"inf\")" : "np.float32(\"-inf\")";
  return fmt::format("np.float32({:.9g})", x);
}
namespace {

std::string_view infix_of(ScalarOp op) {
  switch (op) {
    case ScalarOp::add:
      return "+";
    case ScalarOp::sub:
      return "-";
    case ScalarOp::mul:
      return "*";
    case ScalarOp::div:
      return "/";
    case ScalarOp::lt:
      return "<";
    case ScalarOp::le:
      return "<=";
    case ScalarOp::eq:
      return "==";
    case ScalarOp::ne:
      return "!=";
    case ScalarOp::logical_and:
    case ScalarOp::bit_and:
      return "&";
    case ScalarOp::logical_or:
    case ScalarOp::bit_or:
      return "|";
    case ScalarOp::bit_xor:
      return "^";
    default:
      return "";
  }
}

std::string_view function_of(ScalarOp op) {
  switch (op) {
    case ScalarOp::abs:
      return "np.abs";
    case ScalarOp::sqrt:
      return "np.sqrt";
    case ScalarOp::floor:
      return "np.floor";
    case ScalarOp::round:
      return "np.rint";
    case ScalarOp::max:
      return "np.maximum";
    case ScalarOp::min:
      return "np.minimum";
    case ScalarOp::exp:
      return "_exp";
    case ScalarOp::log:
      return "_log";
    case ScalarOp::tanh:
      return "_tanh";
    case ScalarOp::erf:
      return "_erf";
    case ScalarOp::sin:
      return "np.sin";
    case ScalarOp::cos:
      return "np.cos";
    case ScalarOp::pow:
      return "np.power";
    case ScalarOp::floordiv:
      return "_floordiv";
    case ScalarOp::rem:
      return "_rem";
    case ScalarOp::shift_left:
      return "_shift_left";
    case ScalarOp::shift_right:
      return "_shift_right";
    case ScalarOp::select:
      return "np.where";
    default:
      return "";
  }
}

}  // namespace

std::string numpy_expression(const Tape& tape, int32_t r, std::span<const std::string> operands,
                             std::string_view shape) {
  const ScalarInstr& instr = tape.code[static_cast<size_t>(r)];
  const bool integer = !is_float(instr.type);
  switch (instr.op) {
    case ScalarOp::constant:
      return numpy_literal(instr.type, instr.imm);
    case ScalarOp::neg:
      return "-" + operands[0];
    case ScalarOp::logical_not:
      return "~" + operands[0];
    case ScalarOp::floor:
    case ScalarOp::round:
      if (integer) return operands[0];
      break;
    case ScalarOp::cast:
      if (tape.code[static_cast<size_t>(instr.a)].type == DType::f32 && is_integer(instr.type)) {
        return fmt::format("_to_int({}).astype({})", operands[0], numpy_type(instr.type));
      }
      return fmt::format("np.asarray({}).astype({})", operands[0], numpy_type(instr.type));
    case ScalarOp::uniform:
      return fmt::format("_uniform({}, {}, {}, {})", operands[0], operands[1],
                         static_cast<uint32_t>(static_cast<int64_t>(instr.imm)), shape);
    default:
      break;
  }
  if (const std::string_view infix = infix_of(instr.op); !infix.empty()) {
    return fmt::format("{} {} {}", operands[0], infix, operands[1]);
  }
  return fmt::format("{}({})", function_of(instr.op), fmt::join(operands, ", "));
}
}  // namespace floe
