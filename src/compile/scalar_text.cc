#include "compile/scalar_text.h"

#include "base/error.h"
#include "compile/cpp_text.h"

namespace floe {
namespace {

const char* unsigned_type(DType type) { return type == DType::i64 ? "unsigned long long" : "unsigned"; }

std::string float_expression(const ScalarInstr& instr) {
  switch (instr.op) {
    case ScalarOp::add:
      return fmt::format("r{} + r{}", instr.a, instr.b);
    case ScalarOp::sub:
      return fmt::format("r{} - r{}", instr.a, instr.b);
    case ScalarOp::mul:
      return fmt::format("r{} * r{}", instr.a, instr.b);
    case ScalarOp::div:
      return fmt::format("r{} / r{}", instr.a, instr.b);
    case ScalarOp::neg:
      return fmt::format("-r{}", instr.a);
    case ScalarOp::abs:
      return fmt::format("__builtin_fabsf(r{})", instr.a);
    case ScalarOp::sqrt:
      return fmt::format("__builtin_sqrtf(r{})", instr.a);
    case ScalarOp::floor:
      return fmt::format("__builtin_floorf(r{})", instr.a);
    default:
      break;
  }
  const ScalarOpInfo info = info_of(instr.op);
  return info.arity == 1 ? fmt::format("floe::scalar::{}(r{})", info.name, instr.a)
                         : fmt::format("floe::scalar::{}(r{}, r{})", info.name, instr.a, instr.b);
}

// Arithmetic is unsigned, so it wraps.
std::string integer_expression(const ScalarInstr& instr) {
  const std::string type = register_type(instr.type);
  const char* wide = unsigned_type(instr.type);
  const auto arithmetic = [&](const char* sign) {
    return fmt::format("static_cast<{0}>(static_cast<{1}>(r{2}) {4} static_cast<{1}>(r{3}))", type, wide,
                       instr.a, instr.b, sign);
  };
  std::string negative = fmt::format("static_cast<{}>(0 - static_cast<{}>(r{}))", type, wide, instr.a);
  switch (instr.op) {
    case ScalarOp::add:
      return arithmetic("+");
    case ScalarOp::sub:
      return arithmetic("-");
    case ScalarOp::mul:
      return arithmetic("*");
    case ScalarOp::neg:
      return negative;
    case ScalarOp::abs:
      if (instr.type == DType::u8) return fmt::format("r{}", instr.a);
      return fmt::format("r{0} < 0 ? {1} : r{0}", instr.a, negative);
    case ScalarOp::floor:
    case ScalarOp::round:
      return fmt::format("r{}", instr.a);
    case ScalarOp::max:
      return fmt::format("r{0} > r{1} ? r{0} : r{1}", instr.a, instr.b);
    case ScalarOp::min:
      return fmt::format("r{0} < r{1} ? r{0} : r{1}", instr.a, instr.b);
    case ScalarOp::bit_and:
      return arithmetic("&");
    case ScalarOp::bit_or:
      return arithmetic("|");
    case ScalarOp::bit_xor:
      return arithmetic("^");
    case ScalarOp::shift_left:
    case ScalarOp::shift_right:
      return fmt::format("static_cast<{}>(floe::scalar::{}(r{}, r{}))", type, info_of(instr.op).name, instr.a,
                         instr.b);
    case ScalarOp::floordiv:
    case ScalarOp::rem:
      return fmt::format("static_cast<{}>(floe::scalar::int_{}(r{}, r{}))", type, info_of(instr.op).name,
                         instr.a, instr.b);
    default:
      fail_bug(__FILE__, __LINE__, fmt::format("scalar op '{}' on integers", info_of(instr.op).name));
  }
}

std::string cast(const Tape& tape, const ScalarInstr& instr) {
  const DType from = tape.code[static_cast<size_t>(instr.a)].type;
  if (instr.type == DType::boolean) return fmt::format("r{} != 0", instr.a);
  const std::string type = register_type(instr.type);
  if (is_float(from) && !is_float(instr.type)) {
    return fmt::format("static_cast<{}>(floe::scalar::to_int(r{}))", type, instr.a);
  }
  return fmt::format("static_cast<{}>(r{})", type, instr.a);
}

}  // namespace

std::string register_type(DType type) {
  switch (type) {
    case DType::f32:
    case DType::bf16:
    case DType::f16:
      return "float";
    case DType::i8:
      return "signed char";
    case DType::u8:
      return "unsigned char";
    case DType::i32:
      return "int";
    case DType::i64:
      return "long long";
    case DType::boolean:
      return "bool";
    default:
      fail_user("{} cannot be printed", name_of(type));
  }
}

std::string scalar_expression(const Tape& tape, const ScalarInstr& instr) {
  switch (instr.op) {
    case ScalarOp::constant:
      if (is_float(instr.type)) return cpp_literal(instr.imm);
      if (instr.type == DType::boolean) return instr.imm != 0 ? "true" : "false";
      return fmt::format("static_cast<{}>({}ll)", register_type(instr.type), static_cast<int64_t>(instr.imm));
    case ScalarOp::select:
      return fmt::format("r{} ? r{} : r{}", instr.a, instr.b, instr.c);
    case ScalarOp::cast:
      return cast(tape, instr);
    case ScalarOp::lt:
      return fmt::format("r{} < r{}", instr.a, instr.b);
    case ScalarOp::le:
      return fmt::format("r{} <= r{}", instr.a, instr.b);
    case ScalarOp::eq:
      return fmt::format("r{} == r{}", instr.a, instr.b);
    case ScalarOp::ne:
      return fmt::format("r{} != r{}", instr.a, instr.b);
    case ScalarOp::logical_and:
      return fmt::format("r{} && r{}", instr.a, instr.b);
    case ScalarOp::logical_or:
      return fmt::format("r{} || r{}", instr.a, instr.b);
    case ScalarOp::logical_not:
      return fmt::format("!r{}", instr.a);
    default:
      return is_float(instr.type) ? float_expression(instr) : integer_expression(instr);
  }
}

}  // namespace floe
