// floe inspect: a model's graphs, their passes, program, memory plan and picture.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "command.h"
#include "compile/compile.h"
#include "compile/print_cpp_graph.h"
#include "compile/print_numpy_graph.h"
#include "ir/print.h"
#include "nn/transformer.h"
#include "output.h"
#include "passes/optimizer.h"
#include "translate/engine.h"
#include "translate/model_file.h"
#include "translate/search_graph.h"

namespace floe {
namespace {

struct Flags {
  std::string model, graph = "step", print_after, print, dot, svg, device = "cpu", precision = "f32";
  std::vector<std::string> memory, sizes;
  bool program = false;
};

Graph graph_of(const std::string& name, const ModelConfig& config) {
  if (name == "train") return train_step(training_graph(config, {}), {});
  if (name == "score") return scoring_graph(config, {});
  if (name == "encode") return encode_graph(config, {});
  if (name == "step") return step_graph(config, {});
  if (name == "search") return search_graph(config, {.beam = 4, .positions = config.max_positions});
  throw UsageError(
      fmt::format("--graph: there is no graph '{}'; there are train, score, encode, step and search", name));
}

Binding binding_of(const std::string& option, const std::vector<std::string>& words,
                   const SymbolTable& symbols) {
  Binding binding;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    char* end = nullptr;
    const int64_t value =
        equals == std::string::npos ? -1 : std::strtoll(word.c_str() + equals + 1, &end, 10);
    if (value < 0 || end == word.c_str() + equals + 1 || *end != '\0')
      throw UsageError(fmt::format("{} takes sizes as B=32, not '{}'", option, word));
    binding[word.substr(0, equals)] = value;
  }
  std::string missing;
  for (const auto& [name, info] : symbols.all()) {
    if (!binding.contains(name)) missing += " " + name;
  }
  if (!missing.empty())
    throw UsageError(fmt::format("{}: the graph has these sizes too:{}", option, missing));
  for (const auto& [name, value] : binding) {
    if (!symbols.has(name)) throw UsageError(fmt::format("{}: the graph has no size {}", option, name));
  }
  symbols.check(binding);
  return binding;
}

void write_picture(const Flags& flags, const Graph& graph) {
  const std::string text = print_dot(graph);
  if (!flags.dot.empty()) write_file(flags.dot, text);
  if (flags.svg.empty()) return;
  const std::string dot = temporary_name(flags.svg);
  write_file(dot, text);
  const std::string command = fmt::format("dot -Tsvg '{}' -o '{}.svg' 2>/dev/null", dot, dot);
  const bool drawn = dot.find('\'') == std::string::npos && std::system(command.c_str()) == 0;
  std::error_code error;
  std::filesystem::remove(dot, error);
  if (!drawn) fail_io("cannot draw {}: that needs the program `dot` (package graphviz)", flags.svg);
  std::filesystem::rename(dot + ".svg", flags.svg, error);
  if (error) fail_io("cannot write {}: {}", flags.svg, error.message());
}

void print_summary(const ModelFile& model) {
  const ModelConfig& c = model.config;
  fmt::print("{}: {} encoder and {} decoder layers, width {}, feed-forward {}, {} heads, {} parameters\n",
             name_of(c.architecture), c.encoder_layers, c.decoder_layers, c.d_model, c.d_ff, c.heads,
             parameter_count(c));
  fmt::print("vocabularies: source {}, target {}; at most {} positions\n", c.source_vocabulary,
             c.target_vocabulary, c.max_positions);
  for (const auto& [key, value] : model.notes) fmt::print("{}: {}\n", key, value);
}

// The source alone, so that it can go to a file.
int print_source(const Flags& flags) {
  if (flags.print != "numpy" && flags.print != "cpp")
    throw UsageError(fmt::format("--print is numpy or cpp, not '{}'", flags.print));
  const Graph graph = graph_of(flags.graph, load_model(flags.model).config);
  const std::string source = flags.print == "numpy"
                                 ? numpy_graph(graph)
                                 : cpp_graph(graph, binding_of("--sizes", flags.sizes, graph.symbols()));
  fmt::print("{}", source);
  return 0;
}

int run(const Flags& flags) {
  require(flags.model, "--model");
  if (!flags.print.empty()) return print_source(flags);
  const std::vector<std::string> passes = pass_names();
  if (!flags.print_after.empty() && flags.print_after != "all" && flags.print_after != "built" &&
      std::find(passes.begin(), passes.end(), flags.print_after) == passes.end())
    throw UsageError(fmt::format("--print-after: there is no pass '{}'; there are built, {}",
                                 flags.print_after, fmt::join(passes, ", ")));
  const ModelFile model = load_model(flags.model);
  DeviceKind device = DeviceKind::cpu;
  Precision precision = Precision::f32;
  parse(flags.device, &device);
  parse(flags.precision, &precision);
  if (precision == Precision::bf16 && (device == DeviceKind::cpu || flags.graph == "train"))
    throw UsageError("--precision bf16 is for --device cuda and for graphs that infer");
  const QuantizePlan plan =
      flags.graph == "train" ? QuantizePlan{} : quantize_plan(model.config, model.weights);
  const Graph graph =
      graph_for(precision, model.config, int8_graph(graph_of(flags.graph, model.config), plan));
  print_summary(model);
  write_picture(flags, graph);

  KernelTable kernels;
  add_all_kernels(device, kernels);
  CompileOptions options{.device = device, .row_invariant = flags.graph != "train"};
  options.after_pass = [&](const std::string& pass, const Graph& after, double seconds) {
    fmt::print("{:>16}: {:5} nodes, {:.3f} s\n", pass, after.node_count(), seconds);
    if (flags.print_after == "all" || flags.print_after == pass) fmt::print("{}\n", print(after));
  };
  const auto program = compile({graph}, kernels, options);
  const ProgramEntry& entry = program->entries.front();
  fmt::print("program {}: {} steps, {} ops run by their meaning\n", entry.name, entry.steps.size(),
             entry.fallbacks.size());
  for (const std::string& fallback : entry.fallbacks) fmt::print("  {}\n", fallback);
  if (flags.program) fmt::print("{}\n", print(entry));
  if (!flags.memory.empty())
    fmt::print("{}\n", print(entry, plan_memory(entry, binding_of("--memory", flags.memory, entry.symbols))));
  return 0;
}

}  // namespace

Run inspect_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("--model", flags->model, "the model's folder");
  app.add_option("--graph", flags->graph, "train, score, encode, search or step (the default)");
  app.add_option("--device", flags->device, "whose program: cpu (unless given) or cuda");
  app.add_option("--precision", flags->precision, "f32 (unless given) or, for cuda, bf16");
  app.add_option("--print-after", flags->print_after, "print the graph after this pass, or after all");
  app.add_option("--print", flags->print,
                 "print the graph as one source and nothing else: numpy, or cpp (for --sizes)");
  app.add_option("--sizes", flags->sizes, "sizes that --print cpp is for: B=32 S=20 ...");
  app.add_flag("--program", flags->program, "print the program's steps");
  app.add_option("--memory", flags->memory, "print the memory plan for these sizes: B=32 S=20 ...");
  app.add_option("--dot", flags->dot, "write the graph as built for `dot`");
  app.add_option("--svg", flags->svg, "draw the graph as built, with `dot`");
  return [flags] { return run(*flags); };
}

}  // namespace floe
