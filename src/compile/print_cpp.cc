#include "compile/print_cpp.h"

#include <set>

#include "base/error.h"
#include "compile/cpp_text.h"

namespace floe {

extern const char* const kScalarMathText;  // generated from kernel/cpu/scalar_math.h

namespace {

const char* register_type(DType type) { return type == DType::boolean ? "bool" : cpp_type(type); }
const char* unsigned_type(DType type) { return type == DType::i64 ? "unsigned long long" : "unsigned"; }

class CppPrinter {
 public:
  CppPrinter(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs)
      : tape_(tape), inputs_(inputs), outputs_(outputs) {
    for (const ScalarInstr& instr : tape.code) {
      if (instr.op == ScalarOp::uniform) ordinals_.insert(instr.b);
    }
  }

  std::string run(std::string_view name, Linkage linkage) {
    const View& space = outputs_[0];
    cpp_operands(text_, inputs_, outputs_);
    const std::vector<std::string> at = text_.loops(space);
    for (size_t r = 0; r < tape_.code.size(); ++r) instruction(static_cast<int32_t>(r));
    for (size_t k = 0; k < tape_.outputs.size(); ++k) {
      text_.line(fmt::format("y{}[{}] = r{};", k, cpp_offset(space, at), tape_.outputs[k]));
    }
    text_.close(at.size());
    return fmt::format("{} int {}(const void* const* inputs, void* const* outputs) {{\n{}  return 0;\n}}\n",
                       linkage == Linkage::external ? "extern \"C\"" : "static", name, text_.text());
  }

 private:
  const ScalarInstr& code(int32_t r) const { return tape_.code[static_cast<size_t>(r)]; }

  // Element offset of an input, its dims aligned to the loops from the right.
  std::string offset(const View& view) const {
    std::vector<std::string> names;
    for (int k = 0; k < view.rank; ++k) names.push_back(fmt::format("i{}", outputs_[0].rank - view.rank + k));
    return cpp_offset(view, names);
  }

  void instruction(int32_t r) {
    const ScalarInstr& instr = code(r);
    if (ordinals_.count(r) != 0) return;  // read where the numbers are made
    const bool divides = instr.op == ScalarOp::floordiv || instr.op == ScalarOp::rem;
    if (divides && !is_float(instr.type)) text_.line(fmt::format("if (r{} == 0) return 1;", instr.b));
    text_.line(fmt::format("const {} r{} = {};", register_type(instr.type), r, expression(instr)));
  }

  std::string expression(const ScalarInstr& instr) const {
    switch (instr.op) {
      case ScalarOp::input: {
        const auto k = static_cast<size_t>(instr.imm);
        return fmt::format("x{}[{}]{}", k, offset(inputs_[k]), instr.type == DType::boolean ? " != 0" : "");
      }
      case ScalarOp::constant:
        if (instr.type == DType::f32) return cpp_literal(instr.imm);
        if (instr.type == DType::boolean) return instr.imm != 0 ? "true" : "false";
        return fmt::format("static_cast<{}>({}ll)", register_type(instr.type),
                           static_cast<int64_t>(instr.imm));
      case ScalarOp::select:
        return fmt::format("r{} ? r{} : r{}", instr.a, instr.b, instr.c);
      case ScalarOp::cast:
        return cast(instr);
      case ScalarOp::uniform:
        return uniform(instr);
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
        return instr.type == DType::f32 ? float_expression(instr) : integer_expression(instr);
    }
  }

  static std::string float_expression(const ScalarInstr& instr) {
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
  static std::string integer_expression(const ScalarInstr& instr) {
    const char* type = register_type(instr.type);
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
      case ScalarOp::floordiv:
      case ScalarOp::rem:
        return fmt::format("static_cast<{}>(floe::scalar::int_{}(r{}, r{}))", type, info_of(instr.op).name,
                           instr.a, instr.b);
      default:
        fail_bug(__FILE__, __LINE__, fmt::format("scalar op '{}' on integers", info_of(instr.op).name));
    }
  }

  std::string cast(const ScalarInstr& instr) const {
    const DType from = code(instr.a).type;
    if (instr.type == DType::boolean) return fmt::format("r{} != 0", instr.a);
    const char* type = register_type(instr.type);
    if (from == DType::f32 && instr.type != DType::f32) {
      return fmt::format("static_cast<{}>(floe::scalar::to_int(r{}))", type, instr.a);
    }
    return fmt::format("static_cast<{}>(r{})", type, instr.a);
  }

  std::string uniform(const ScalarInstr& instr) const {
    const int rank = outputs_[0].rank;
    const auto k = static_cast<size_t>(code(instr.b).imm);
    const auto coordinate = [](int axis) { return fmt::format("static_cast<unsigned>(i{})", axis); };
    return fmt::format(
        "floe::scalar::uniform(static_cast<unsigned>(r{}), {}u, {}, {}, static_cast<unsigned>(x{}[i0 * {}]), "
        "{})",
        instr.a, static_cast<uint32_t>(static_cast<int64_t>(instr.imm)), coordinate(rank - 1),
        rank > 2 ? coordinate(rank - 2) : "0u", k, inputs_[k].strides[0], rank > 3 ? coordinate(1) : "0u");
  }

  const Tape& tape_;
  std::span<const View> inputs_, outputs_;
  std::set<int32_t> ordinals_;
  CppText text_;
};

}  // namespace

std::string cpp_prelude() { return kScalarMathText; }

std::string cpp_group(std::string_view name, const Tape& tape, std::span<const View> inputs,
                      std::span<const View> outputs, Linkage linkage) {
  return CppPrinter(tape, inputs, outputs).run(name, linkage);
}

}  // namespace floe
