#include "compile/print_cpp_graph.h"

#include <algorithm>

#include "base/error.h"
#include "compile/cpp_steps.h"
#include "compile/cpp_text.h"
#include "compile/plan.h"
#include "compile/print_cpp.h"
#include "compile/printable.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "ops/group/group.h"
#include "ops/matmul/matmul.h"
#include "passes/fuse.h"

namespace floe {
namespace {

// Fusion gives an activation to the product before it; here the two stay two steps.
Graph with_plain_products(const Graph& graph) {
  return rewrite(graph, [](const RewriteContext& c) -> std::optional<Values> {
    if (c.node.op->name != "matmul" || is_printable(c.node)) return std::nullopt;
    const Attrs& attrs = c.node.attrs;
    const Value product = matmul(
        c.builder, c.inputs[0], c.inputs[1],
        {.transpose_a = attrs.flag("transpose_a", false), .transpose_b = attrs.flag("transpose_b", false)});
    auto body = std::make_shared<Graph>(c.builder.graph().ops(), "group");
    body->symbols() = c.builder.symbols();
    Builder b(*body);
    b.output("y0", b.add(attrs.text("activation"), {b.input("x0", c.builder.type(product))}));
    return group(c.builder, std::move(body), {product});
  });
}

// For plan(): every op has a "kernel" here, and printed loops take any strides.
KernelTable printed_kernels(const Graph& graph) {
  KernelTable table;
  for (const auto& [name, op] : graph.ops().all()) {
    Kernel kernel;
    kernel.op = name;
    kernel.name = name;
    kernel.supports = [](const KernelSignature&) { return true; };
    kernel.strided_inputs = 0xFFFFFFFFu;
    table.add(std::move(kernel));
  }
  return table;
}

std::string elements_of(const Tensor& value) {
  std::string text;
  for (int64_t i = 0; i < value.size(); ++i) {
    if (i > 0) text += i % 16 == 0 ? ",\n    " : ", ";
    if (value.dtype() == DType::f32) {
      text += cpp_literal(value.at(i));
    } else if (value.dtype() == DType::i64) {
      const int64_t number = value.as<int64_t>()[i];
      text += number == INT64_MIN ? "-9223372036854775807ll - 1" : fmt::format("{}ll", number);
    } else {
      text += fmt::format("{}", static_cast<int64_t>(value.at(i)));
    }
  }
  return text.empty() ? "0" : text;  // C++ has no arrays of no element
}

class GraphPrinter {
 public:
  GraphPrinter(const Graph& graph, const Binding& binding)
      : graph_(graph), binding_(binding), name_(identifier_of(graph.name())) {
    const Graph printed = with_plain_products(fuse(printable(graph)));
    entry_ = plan(printed, printed_kernels(graph), DeviceKind::cpu, &program_, {.in_place = false});
    entry_.symbols.check(binding_);
    memory_ = plan_memory(entry_, binding_);
  }

  std::string run() {
    std::string body = doors();
    for (const StepSpec& each : entry_.steps) body += step(each);
    body += outputs();
    return fmt::format(
        "{}\n{}{}\nextern \"C\" unsigned long long {}_scratch() {{ return {}; }}\n\n"
        "extern \"C\" int {}(const void* const* inputs, void* const* states, void* const* outputs, void* "
        "scratch) {{\n"
        "{}  return 0;\n}}\n",
        cpp_prelude(), constants(), functions_, name_, std::max<size_t>(memory_.arena, 64), name_, body);
  }

 private:
  std::string constants() const {
    std::string out;
    for (const StorageSpec& storage : entry_.storages) {
      if (storage.kind != StorageSpec::Kind::constant) continue;
      const Tensor& value = *program_.constants[static_cast<size_t>(storage.constant)];
      out +=
          fmt::format("static const {} constant_{}[] = {{{}}};  // {}{}\n", cpp_type(value.dtype()),
                      storage.constant, elements_of(value), name_of(value.dtype()), text_of(value.shape()));
    }
    return out;
  }

  // What is given, by the order of the graph; names and types as comments.
  std::string doors() const {
    std::string out;
    const auto list = [&](const char* kind, const char* type, const std::vector<NamedValue>& values) {
      for (size_t k = 0; k < values.size(); ++k) {
        out += fmt::format("  {0}char* const {1}_{2} = static_cast<{0}char*>({1}s[{2}]);  // {3} {4}\n", type,
                           kind, k, values[k].name, text_of(graph_.type(values[k].value)));
      }
    };
    list("input", "const ", graph_.inputs());
    list("state", "", graph_.states());
    for (size_t k = 0; k < graph_.outputs().size(); ++k) {
      const NamedValue& output = graph_.outputs()[k];
      out += fmt::format("  // outputs[{}]: {} {}\n", k, output.name, text_of(graph_.type(output.value)));
    }
    return out + "  char* const arena = static_cast<char*>(scratch);\n";
  }

  static size_t place_of(const std::vector<NamedValue>& values, const std::string& name) {
    const auto found =
        std::find_if(values.begin(), values.end(), [&](const auto& v) { return v.name == name; });
    FLOE_CHECK(found != values.end(), "no '{}' in the graph", name);
    return static_cast<size_t>(found - values.begin());
  }

  std::string address(int index) const {
    const SlotSpec& slot = entry_.slots[static_cast<size_t>(index)];
    const StorageSpec& storage = entry_.storages[static_cast<size_t>(slot.storage)];
    size_t at = static_cast<size_t>(slot.offset.evaluate(binding_)) * size_of(slot.dtype);
    std::string base = "arena";
    switch (storage.kind) {
      case StorageSpec::Kind::arena:
        at += memory_.offsets[static_cast<size_t>(slot.storage)];
        break;
      case StorageSpec::Kind::input:
        base = fmt::format("input_{}", place_of(graph_.inputs(), storage.name));
        break;
      case StorageSpec::Kind::state:
        base = fmt::format("state_{}", place_of(graph_.states(), storage.name));
        break;
      case StorageSpec::Kind::constant:
        base = fmt::format("reinterpret_cast<const char*>(constant_{})", storage.constant);
        break;
    }
    return at == 0 ? base : fmt::format("{} + {}", base, at);
  }

  View view(int index) const {
    const SlotSpec& slot = entry_.slots[static_cast<size_t>(index)];
    if (slot.dims.size() > kMaxRank) fail_user("[print_cpp] rank {} cannot be printed", slot.dims.size());
    View view;
    view.dtype = slot.dtype;
    view.rank = static_cast<int>(slot.dims.size());
    for (size_t k = 0; k < slot.dims.size(); ++k) {
      view.dims[k] = slot.dims[k].evaluate(binding_);
      view.strides[k] = slot.strides[k].evaluate(binding_);
    }
    return view;
  }

  static std::string list(const std::vector<std::string>& pointers) {
    std::string text;
    for (const std::string& pointer : pointers) text += (text.empty() ? "" : ", ") + pointer;
    return text.empty() ? "nullptr" : text;
  }

  // The function goes to functions_; gives the call.
  std::string call(const std::string& name, const CppStep& step, const std::vector<std::string>& inputs,
                   const std::vector<std::string>& outputs) {
    functions_ += "\n" + cpp_step(name, step);
    ++calls_;
    return fmt::format(
        "  {{\n    const void* const in[] = {{{}}};\n    void* const out[] = {{{}}};\n"
        "    if ({}(in, out) != 0) return {};\n  }}\n",
        list(inputs), list(outputs), name, calls_);
  }

  std::string step(const StepSpec& spec) {
    std::vector<View> inputs, outputs;
    std::vector<std::string> from, to;
    for (const int slot : spec.inputs) {
      inputs.push_back(view(slot));
      from.push_back(address(slot));
    }
    for (const int slot : spec.outputs) {
      outputs.push_back(view(slot));
      to.push_back(address(slot));
    }
    const Attrs attrs = spec.attrs.bind(binding_);
    std::string place;
    if (spec.where != where_ && !spec.where.empty()) place = "\n  // " + spec.where + "\n";
    where_ = spec.where;
    return place +
           call(fmt::format("step_{}_{}", calls_ + 1, spec.op), {spec.op, attrs, inputs, outputs}, from, to);
  }

  std::string outputs() {
    std::string out;
    for (size_t k = 0; k < entry_.outputs.size(); ++k) {
      const int slot = entry_.outputs[k].slot;
      const std::vector<View> from{view(slot)};
      const std::vector<View> to{View(nullptr, from[0].dtype, from[0].shape())};
      out += call(fmt::format("output_{}", k), {"copy", {}, from, to}, {address(slot)},
                  {fmt::format("outputs[{}]", k)});
    }
    return out;
  }

  const Graph& graph_;
  const Binding& binding_;
  std::string name_;
  Program program_;
  ProgramEntry entry_;
  MemoryPlan memory_;
  std::string functions_, where_;
  int calls_ = 0;
};

}  // namespace

std::string cpp_graph(const Graph& graph, const Binding& binding) {
  return GraphPrinter(graph, binding).run();
}

}  // namespace floe
