#include "compile/print_cpp.h"

#include <set>

#include "base/error.h"
#include "compile/cpp_text.h"
#include "compile/scalar_text.h"

namespace floe {

extern const char* const kScalarMathText;  // generated from kernel/cpu/scalar_math.h

namespace {

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
    cpp_type(instr.type);  // refuses what printed C++ has no type for
    text_.line(fmt::format("const {} r{} = {};", register_type(instr.type), r, expression(instr)));
  }

  std::string expression(const ScalarInstr& instr) const {
    if (instr.op == ScalarOp::uniform) return uniform(instr);
    if (instr.op != ScalarOp::input) return scalar_expression(tape_, instr);
    const auto k = static_cast<size_t>(instr.imm);
    return fmt::format("x{}[{}]{}", k, offset(inputs_[k]), instr.type == DType::boolean ? " != 0" : "");
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
