// floe compile: an ONNX model through the passes, and as source for a target.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "command.h"
#include "compile/compile.h"
#include "compile/print_cpp_graph.h"
#include "compile/printable.h"
#include "ir/evaluate.h"
#include "ir/print.h"
#include "model_run.h"
#include "ops/all.h"

namespace floe {
namespace {

struct Flags {
  std::string model, input, target = "cpu", emit, print_after;
  std::vector<std::string> skip;
};

void check_pass(const std::string& option, const std::string& name) {
  const std::vector<std::string> passes = pass_names();
  if (std::find(passes.begin(), passes.end(), name) == passes.end())
    throw UsageError(
        fmt::format("{}: there is no pass '{}'; there are {}", option, name, fmt::join(passes, ", ")));
}

// Sizes of a graph without symbolic dims; where it has some, the inputs' shapes must say.
Binding binding_of(const Graph& graph, const NamedTensors& inputs) {
  Binding binding;
  for (const NamedValue& input : graph.inputs()) {
    const auto given = inputs.find(input.name);
    if (given != inputs.end())
      bind_dims(graph.type(input.value).dims, given->second->shape(), input.name, &binding);
  }
  for (const auto& [name, info] : graph.symbols().all()) {
    if (!binding.contains(name))
      throw UsageError(
          fmt::format("C++ is for fixed sizes: --input must give arrays, so that '{}' is known", name));
  }
  return binding;
}

void emit(const Flags& flags, const OnnxImport& import, const NamedTensors& inputs, const Program* program) {
  std::filesystem::create_directories(flags.emit);
  const std::string base = flags.emit + "/" + identifier_of(import.graph.name());
  if (flags.target == "numpy") return write_numpy(import, flags.emit);
  write_file(base + ".program.txt", print(program->entries.front()));
  if (flags.target == "cuda") return write_file(base + ".groups.cu", program->source);
  write_file(base + ".cc", cpp_graph(import.graph, binding_of(import.graph, inputs)));
}

int run(const Flags& flags) {
  require(flags.model, "MODEL");
  if (flags.target != "cpu" && flags.target != "cuda" && flags.target != "numpy")
    throw UsageError(fmt::format("--target is cpu, cuda or numpy, not '{}'", flags.target));
  if (!flags.print_after.empty() && flags.print_after != "all" && flags.print_after != "built")
    check_pass("--print-after", flags.print_after);
  for (const std::string& pass : flags.skip) check_pass("--skip", pass);
  const auto model = read_onnx(flags.model);
  const NamedTensors inputs = flags.input.empty() ? NamedTensors{} : read_arrays(flags.input);
  const OnnxImport import = import_onnx_for(*model, all_ops(), inputs);
  fmt::print("{}: {} nodes, {} weights\n", flags.model, model->graph.nodes.size(), import.states.size());
  for (const std::string& input : import.specialised)
    fmt::print("specialised to the value of input '{}'\n", input);
  if (import.fixed_shapes) fmt::print("specialised to the shapes of its inputs\n");
  std::shared_ptr<const Program> program;
  if (flags.target != "numpy" || !flags.print_after.empty()) {
    const DeviceKind device = flags.target == "cuda" ? DeviceKind::cuda : DeviceKind::cpu;
    KernelTable kernels;
    add_all_kernels(device, kernels);
    CompileOptions options{.device = device, .skip = flags.skip, .row_invariant = true, .after_pass = {}};
    options.after_pass = [&](const std::string& pass, const Graph& after, double seconds) {
      fmt::print("{:>16}: {:5} nodes, {:.3f} s\n", pass, after.node_count(), seconds);
      if (flags.print_after == "all" || flags.print_after == pass) fmt::print("{}\n", print(after));
    };
    program = compile({import.graph}, kernels, options);
    const ProgramEntry& entry = program->entries.front();
    fmt::print("program: {} steps, {} ops run by their meaning\n", entry.steps.size(),
               entry.fallbacks.size());
  }
  if (!flags.emit.empty()) emit(flags, import, inputs, program.get());
  return 0;
}

}  // namespace

Run compile_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("MODEL", flags->model, "an .onnx file");
  app.add_option("--input", flags->input,
                 "an .npz whose values and shapes the program may be specialised to");
  app.add_option("--target", flags->target, "cpu (unless given), cuda or numpy");
  app.add_option("--emit", flags->emit,
                 "a folder for what was made: C++, CUDA groups or Python, and the program");
  app.add_option("--print-after", flags->print_after, "print the graph after this pass, or after all");
  app.add_option("--skip", flags->skip, "passes to leave out");
  return [flags] { return run(*flags); };
}

}  // namespace floe
