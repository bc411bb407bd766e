#include "compile/print_cuda.h"

#include <algorithm>

#include "base/error.h"
#include "compile/group_axes.h"
#include "compile/scalar_text.h"

namespace floe {

extern const char* const kScalarMathText;    // generated from kernel/cpu/scalar_math.h
extern const char* const kGroupPreludeText;  // generated from kernel/cuda/group_prelude.cuh

namespace {

// NVRTC knows CUDA's functions, not those of the host's compiler.
constexpr const char* kBuiltins = R"(#ifdef __CUDACC_RTC__
#define __builtin_inff() __int_as_float(0x7F800000)
#define __builtin_nanf(text) __int_as_float(0x7FC00000)
#define __builtin_fabsf fabsf
#define __builtin_copysignf copysignf
#define __builtin_floorf floorf
#define __builtin_rintf rintf
#define __builtin_sqrtf sqrtf
#define __builtin_fmodf fmodf
#define __builtin_sinf sinf
#define __builtin_cosf cosf
#define __builtin_powf powf
#endif
)";

constexpr const char* kName = "@";  // stands for the kernel's name

std::string memory_type(DType type) {
  switch (type) {
    case DType::bf16:
      return "floe::bf16";
    case DType::f16:
      return "floe::f16";
    case DType::boolean:
      return "floe::boolean";
    default:
      return register_type(type);
  }
}

class GroupPrinter {
 public:
  GroupPrinter(const Tape& tape, std::span<const GroupOperand> inputs, std::span<const GroupOperand> outputs)
      : tape_(tape), inputs_(inputs), outputs_(outputs), axes_(merge_axes(tape, inputs, outputs)) {
    choose_vector();
  }

  const GroupAxes& axes() const { return axes_; }
  int vector() const { return vector_; }

  std::string run() {
    out_ = fmt::format(
        "\nextern \"C\" __global__ void __launch_bounds__(256) {}(const floe::Group<{}, {}, {}, {}> g) {{\n",
        kName, axes_.count, std::max<size_t>(inputs_.size(), 1), outputs_.size(),
        std::max<size_t>(axes_.randoms.size(), 1));
    line("floe::start_after_previous();");
    scalars();
    if (axes_.count > 1) row();
    const char* block = axes_.count > 1 ? "y" : "x";
    line(
        fmt::format("for (long long block = blockIdx.{0}; block * blockDim.x * {1} < g.inner; "
                    "block += gridDim.{0}) {{",
                    block, vector_));
    indent_ = 4;
    line(fmt::format("const floe::Columns<{}> c(block, g.inner, g.packed != 0);", vector_));
    loads();
    numbers();
    elements();
    indent_ = 2;
    line("}");
    return out_ + "}\n";
  }

 private:
  static size_t index(int32_t r) { return static_cast<size_t>(r); }
  const ScalarInstr& code(int32_t r) const { return tape_.code[index(r)]; }
  void line(const std::string& text) { out_ += std::string(static_cast<size_t>(indent_), ' ') + text + "\n"; }
  static bool broadcast(const Dim& stride) { return stride == Dim(0); }
  static bool is_scalar(const GroupAxes::Load& load) {
    return std::all_of(load.strides.begin(), load.strides.end(), broadcast);
  }
  std::string load_type(const GroupAxes::Load& load) const {
    return memory_type(inputs_[static_cast<size_t>(load.input)].dtype);
  }

  // So many that the narrowest of what is read side by side is moved 16 bytes at a time; of bytes 8, to keep
  // wider operands in registers.
  void choose_vector() {
    size_t least = 8;
    for (const GroupOperand& output : outputs_) least = std::min(least, size_of(output.dtype));
    for (const GroupAxes::Load& load : axes_.loads) {
      if (load.strides.back() != Dim(1)) continue;
      least = std::min(least, size_of(inputs_[static_cast<size_t>(load.input)].dtype));
    }
    vector_ = static_cast<int>(16 / std::max<size_t>(least, 2));
    if (!axes_.randoms.empty()) vector_ = std::max(vector_, 4);  // whole blocks of Philox
  }

  // What is the same for all elements.
  void scalars() {
    for (size_t r = 0; r < tape_.code.size(); ++r) {
      if (axes_.live[r] && tape_.code[r].op == ScalarOp::constant) define(static_cast<int32_t>(r));
    }
    for (const GroupAxes::Load& load : axes_.loads) {
      if (!is_scalar(load)) continue;
      set(load.reg, fmt::format("floe::value(*static_cast<const {}*>(g.inputs[{}].data))", load_type(load),
                                load.input));
      defined_[load.reg] = true;
    }
  }

  void row() {
    line("const long long row = blockIdx.x * static_cast<long long>(blockDim.y) + threadIdx.y;");
    line("if (row >= g.rows) return;");
    coordinates();
    for (const GroupAxes::Load& load : axes_.loads) {
      if (is_scalar(load)) continue;
      line(fmt::format("const auto* x{0} = static_cast<const {1}*>(g.inputs[{2}].data){3};", load.reg,
                       load_type(load), load.input, row_offset(load)));
      if (!broadcast(load.strides.back())) continue;
      set(load.reg, fmt::format("floe::value(*x{})", load.reg));
      defined_[load.reg] = true;
    }
    for (size_t q = 0; q < axes_.randoms.size(); ++q) {
      line(fmt::format(
          "const auto o{} = static_cast<unsigned>(g.randoms[{}].ordinals[i0 * g.randoms[{}].stride]);",
          axes_.randoms[q], q, q));
    }
  }

  // i0, i1, ...: where the row lies in the axes before the last.
  void coordinates() {
    const int leading = axes_.count - 1;
    bool needed = !axes_.randoms.empty();
    for (const GroupAxes::Load& load : axes_.loads) {
      const bool walks = !std::all_of(load.strides.begin(), load.strides.end() - 1, broadcast);
      needed = needed || (walks && !is_dense(load));
    }
    if (!needed) return;
    std::string rest = "row";
    for (int j = leading - 1; j > 0; --j) {
      line(fmt::format("const floe::Quotient q{0} = floe::divide({1}, g.axes[{0}]);", j, rest));
      line(fmt::format("const long long i{0} = q{0}.rest;", j));
      rest = fmt::format("q{}.quotient", j);
    }
    line(fmt::format("const long long i0 = {};", rest));
  }

  // Row after row, as the results lie.
  bool is_dense(const GroupAxes::Load& load) const {
    Dims dims(static_cast<size_t>(axes_.count), Dim(1));
    for (size_t k = 0; k < axes_.axis.size(); ++k) {
      if (axes_.axis[k] < 0) continue;
      Dim& dim = dims[static_cast<size_t>(axes_.axis[k])];
      dim = dim * outputs_[0].dims[k];
    }
    Dim stride(1);
    for (size_t j = dims.size(); j-- > 0;) {
      if (load.strides[j] != stride) return false;
      stride = stride * dims[j];
    }
    return true;
  }

  std::string row_offset(const GroupAxes::Load& load) const {
    if (is_dense(load)) return " + row * g.inner";
    std::string text;
    for (int j = 0; j + 1 < axes_.count; ++j) {
      if (broadcast(load.strides[static_cast<size_t>(j)])) continue;
      text += fmt::format(" + i{} * g.inputs[{}].strides[{}]", j, load.input, j);
    }
    return text;
  }

  void loads() {
    for (const GroupAxes::Load& load : axes_.loads) {
      if (broadcast(load.strides.back())) continue;
      const std::string from = axes_.count > 1 ? fmt::format("x{}", load.reg)
                                               : fmt::format("static_cast<const {}*>(g.inputs[{}].data)",
                                                             load_type(load), load.input);
      const std::string stride = load.strides.back() == Dim(1)
                                     ? ""
                                     : fmt::format(", g.inputs[{}].strides[{}]", load.input, axes_.count - 1);
      line(fmt::format("const auto v{} = floe::load<{}>({}, c{});", load.reg, vector_, from, stride));
    }
  }

  void numbers() {
    const int rank = axes_.count;
    const auto coordinate = [](int axis) { return fmt::format("static_cast<unsigned>(i{})", axis); };
    for (size_t q = 0; q < axes_.randoms.size(); ++q) {
      const int32_t r = axes_.randoms[q];
      line(fmt::format("float u{}[{}];", r, vector_));
      line(fmt::format(
          "floe::uniform<{0}>(u{1}, c, static_cast<unsigned>(r{2}), g.randoms[{3}].op_id, {4}, o{1}, {5});",
          vector_, r, code(r).a, q, rank > 2 ? coordinate(rank - 2) : "0u", rank > 3 ? coordinate(1) : "0u"));
    }
  }

  void elements() {
    for (size_t k = 0; k < outputs_.size(); ++k) {
      line(fmt::format("{} y{}[{}];", register_type(outputs_[k].dtype), k, vector_));
    }
    out_ += "#pragma unroll\n";
    line(fmt::format("for (int k = 0; k < {}; ++k) {{", vector_));
    indent_ = 6;
    for (const GroupAxes::Load& load : axes_.loads) {
      if (broadcast(load.strides.back())) continue;
      set(load.reg, fmt::format("floe::value(v{}.at[k])", load.reg));
      defined_[load.reg] = true;
    }
    for (size_t r = 0; r < tape_.code.size(); ++r) {
      if (axes_.live[r] && !axes_.ordinals[r]) define(static_cast<int32_t>(r));
    }
    for (size_t k = 0; k < outputs_.size(); ++k) line(fmt::format("y{}[k] = r{};", k, tape_.outputs[k]));
    indent_ = 4;
    line("}");
    for (size_t k = 0; k < outputs_.size(); ++k) {
      line(fmt::format("floe::store(static_cast<{}*>(g.outputs[{}]){}, c, y{});",
                       memory_type(outputs_[k].dtype), k, axes_.count > 1 ? " + row * g.inner" : "", k));
    }
  }

  void set(int32_t r, const std::string& value) {
    line(fmt::format("const {} r{} = {};", register_type(code(r).type), r, value));
  }

  void define(int32_t r) {
    if (defined_[r]) return;
    defined_[r] = true;
    const ScalarInstr& instr = code(r);
    if (instr.op == ScalarOp::uniform) return set(r, fmt::format("u{}[k]", r));
    const std::string value = scalar_expression(tape_, instr);
    const bool divides = instr.op == ScalarOp::floordiv || instr.op == ScalarOp::rem;
    if (divides && !is_float(instr.type)) return set(r, fmt::format("r{} == 0 ? 0 : {}", instr.b, value));
    const bool narrows = instr.op == ScalarOp::cast && code(instr.a).type != instr.type &&
                         (instr.type == DType::bf16 || instr.type == DType::f16);
    set(r, narrows ? fmt::format("floe::rounded<{}>({})", memory_type(instr.type), value) : value);
  }

  const Tape& tape_;
  std::span<const GroupOperand> inputs_, outputs_;
  GroupAxes axes_;
  int vector_ = 4;
  std::map<int32_t, bool> defined_;
  std::string out_;
  int indent_ = 2;
};

}  // namespace

GroupOperand operand_of(const View& view) {
  GroupOperand operand{view.dtype, {}, {}};
  for (int k = 0; k < view.rank; ++k) {
    operand.dims.emplace_back(view.dims[static_cast<size_t>(k)]);
    operand.strides.emplace_back(view.strides[static_cast<size_t>(k)]);
  }
  return operand;
}

void CudaGroups::add(const Tape& tape, std::span<const GroupOperand> inputs,
                     std::span<const GroupOperand> outputs, Attrs* attrs) {
  GroupPrinter printer(tape, inputs, outputs);
  const std::string text = printer.run();
  const auto [at, added] = names_.emplace(text, fmt::format("floe_group_{}", names_.size()));
  if (added) {
    const size_t name = text.find(kName);
    kernels_ += text.substr(0, name) + at->second + text.substr(name + 1);
  }
  attrs->set("function", at->second);
  attrs->set("axes", printer.axes().axis);
  attrs->set("vector", int64_t{printer.vector()});
}

std::string CudaGroups::source() const {
  return kernels_.empty() ? "" : std::string(kBuiltins) + kScalarMathText + kGroupPreludeText + kernels_;
}

std::string cuda_source(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs,
                        Attrs* attrs) {
  std::vector<GroupOperand> in, out;
  for (const View& view : inputs) in.push_back(operand_of(view));
  for (const View& view : outputs) out.push_back(operand_of(view));
  CudaGroups groups;
  groups.add(tape, in, out, attrs);
  return groups.source();
}

void print_cuda_groups(Program* program) {
  CudaGroups groups;
  for (ProgramEntry& entry : program->entries) {
    const auto operands = [&](const std::vector<int>& slots) {
      std::vector<GroupOperand> all;
      for (const int slot : slots) {
        const SlotSpec& spec = entry.slots[static_cast<size_t>(slot)];
        all.push_back({spec.dtype, spec.dims, spec.strides});
      }
      return all;
    };
    for (StepSpec& step : entry.steps) {
      if (step.op != "group") continue;
      const TapePtr tape = step.attrs.tape("tape");
      groups.add(*tape, operands(step.inputs), operands(step.outputs), &step.attrs);
    }
  }
  program->source = groups.source();
}

}  // namespace floe
