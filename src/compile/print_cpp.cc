#include "compile/print_cpp.h"

#include <set>

#include "base/error.h"
#include "compile/scalar_text.h"

namespace floe {

extern const char* const kScalarMathText;  // generated from kernel/cpu/scalar_math.h

namespace {

const char* memory_type(DType type) {
  switch (type) {
    case DType::f32:
      return "float";
    case DType::i8:
      return "signed char";
    case DType::u8:
    case DType::boolean:
      return "unsigned char";
    case DType::i32:
      return "int";
    case DType::i64:
      return "long long";
    default:
      fail_user("[print_cpp] {} cannot be printed", name_of(type));
  }
}

class CppPrinter {
 public:
  CppPrinter(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs)
      : tape_(tape), inputs_(inputs), outputs_(outputs) {
    for (const ScalarInstr& instr : tape.code) {
      if (instr.op == ScalarOp::uniform) ordinals_.insert(instr.b);
    }
  }

  std::string run(std::string_view name) {
    const View& space = outputs_[0];
    out_ = fmt::format("extern \"C\" int {}(const void* const* inputs, void* const* outputs) {{\n", name);
    for (size_t k = 0; k < inputs_.size(); ++k) {
      out_ += fmt::format("  const {0}* __restrict x{1} = static_cast<const {0}*>(inputs[{1}]);\n",
                          memory_type(inputs_[k].dtype), k);
    }
    for (size_t k = 0; k < outputs_.size(); ++k) {
      out_ += fmt::format("  {0}* __restrict y{1} = static_cast<{0}*>(outputs[{1}]);\n",
                          memory_type(outputs_[k].dtype), k);
    }
    indent_ = 2;
    for (int k = 0; k < space.rank; ++k) {
      line(fmt::format("for (long long i{0} = 0; i{0} < {1}; ++i{0}) {{", k,
                       space.dims[static_cast<size_t>(k)]));
      indent_ += 2;
    }
    for (size_t r = 0; r < tape_.code.size(); ++r) instruction(static_cast<int32_t>(r));
    const std::string at = offset(space, space.rank);
    for (size_t k = 0; k < tape_.outputs.size(); ++k) {
      line(fmt::format("y{}[{}] = r{};", k, at, tape_.outputs[k]));
    }
    for (int k = 0; k < space.rank; ++k) {
      indent_ -= 2;
      line("}");
    }
    return out_ + "  return 0;\n}\n";
  }

 private:
  const ScalarInstr& code(int32_t r) const { return tape_.code[static_cast<size_t>(r)]; }
  void line(const std::string& text) { out_ += std::string(static_cast<size_t>(indent_), ' ') + text + "\n"; }

  // Element offset of a view, its dims aligned to the loops from the right.
  static std::string offset(const View& view, int rank) {
    std::string text;
    for (int k = 0; k < view.rank; ++k) {
      const auto at = static_cast<size_t>(k);
      if (view.dims[at] == 1) continue;
      text += fmt::format("{}i{}", text.empty() ? "" : " + ", rank - view.rank + k);
      if (view.strides[at] != 1) text += fmt::format(" * {}", view.strides[at]);
    }
    return text.empty() ? "0" : text;
  }

  void instruction(int32_t r) {
    const ScalarInstr& instr = code(r);
    if (ordinals_.count(r) != 0) return;  // read where the numbers are made
    const bool divides = instr.op == ScalarOp::floordiv || instr.op == ScalarOp::rem;
    if (divides && !is_float(instr.type)) line(fmt::format("if (r{} == 0) return 1;", instr.b));
    memory_type(instr.type);  // refuses what C++ has no type for
    line(fmt::format("const {} r{} = {};", register_type(instr.type), r, expression(instr)));
  }

  std::string expression(const ScalarInstr& instr) const {
    if (instr.op == ScalarOp::uniform) return uniform(instr);
    if (instr.op != ScalarOp::input) return scalar_expression(tape_, instr);
    const auto k = static_cast<size_t>(instr.imm);
    return fmt::format("x{}[{}]{}", k, offset(inputs_[k], outputs_[0].rank),
                       instr.type == DType::boolean ? " != 0" : "");
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
  std::string out_;
  int indent_ = 0;
};

}  // namespace

std::string cpp_prelude() { return kScalarMathText; }

std::string cpp_group(std::string_view name, const Tape& tape, std::span<const View> inputs,
                      std::span<const View> outputs) {
  return CppPrinter(tape, inputs, outputs).run(name);
}

}  // namespace floe
