#include "testing/printed_case.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/temp_folder_for_test.h"
#include "compile/numpy_scalar.h"
#include "compile/print_cpp_graph.h"
#include "compile/print_numpy_graph.h"
#include "compile/printable.h"
#include "testing/op_case.h"

namespace floe {
namespace {

std::string compiler() {
  const char* named = std::getenv("CXX");
  return named != nullptr ? named : "c++";
}

Binding binding_of(const Graph& graph, const PrintedCase& given) {
  Binding binding;
  const auto bind = [&](const std::vector<NamedValue>& values, const TensorMap& tensors) {
    for (const NamedValue& value : values) {
      bind_dims(graph.type(value.value).dims, tensors.at(value.name)->shape(), value.name, &binding);
    }
  };
  bind(graph.inputs(), given.inputs);
  bind(graph.states(), given.states);
  return binding;
}

Tensor result_for(const Graph& graph, Value value, const Binding& binding) {
  Shape shape;
  for (const Dim& dim : graph.type(value).dims) shape.push_back(dim.evaluate(binding));
  return {graph.type(value).dtype, shape};
}

// 64-byte aligned bytes.
Tensor arena_of(unsigned long long bytes) { return {DType::u8, {static_cast<int64_t>(bytes)}}; }

void write_tensor(const std::string& path, const Tensor& tensor) {
  write_file(path, std::string_view(static_cast<const char*>(tensor.data()), tensor.bytes()));
}

void read_tensor(const std::string& path, Tensor* tensor) {
  const std::string bytes = read_file(path);
  ASSERT_EQ(bytes.size(), tensor->bytes()) << path;
  if (!bytes.empty()) std::memcpy(tensor->data(), bytes.data(), bytes.size());
}

std::string tuple_of(const Shape& shape) {
  std::string text;
  for (const int64_t dim : shape) text += fmt::format("{}, ", dim);
  return "(" + text + ")";
}

// The caller of the printed function in case k: files in, files out.
std::string driver(const Graph& graph, const PrintedCase& given, size_t k, const TempFolder& folder) {
  const auto dict = [&](const char* kind, const std::vector<NamedValue>& values, const TensorMap& tensors) {
    std::string text;
    for (size_t i = 0; i < values.size(); ++i) {
      const Tensor& tensor = *tensors.at(values[i].name);
      const std::string file = fmt::format("{}.{}{}", k, kind, i);
      write_tensor(folder.file(file), tensor);
      text += fmt::format("{}: np.fromfile({}, {}).reshape({}), ", quote(values[i].name), quote(file),
                          numpy_type(tensor.dtype()), tuple_of(tensor.shape()));
    }
    return "{" + text + "}";
  };
  const auto write = [&](const char* kind, const std::vector<NamedValue>& values) {
    std::string text;
    for (size_t i = 0; i < values.size(); ++i) {
      text += fmt::format("np.ascontiguousarray({}s[{}]).tofile(\"{}.got_{}{}\")\n", kind,
                          quote(values[i].name), k, kind, i);
    }
    return text;
  };
  return fmt::format("outputs, states = {}({}, {})\n", identifier_of(graph.name()),
                     dict("input", graph.inputs(), given.inputs),
                     dict("state", graph.states(), given.states)) +
         write("output", graph.outputs()) + write("state", graph.states());
}

}  // namespace

std::string why_no_cpp() {
  if (std::system((compiler() + " --version >/dev/null 2>&1").c_str()) == 0) return "";
  return "no C++ compiler '" + compiler() + "' here (CXX names another)";
}

std::string why_no_numpy() {
  if (std::system("python3 -c 'import numpy' >/dev/null 2>&1") == 0) return "";
  return "python3 cannot import numpy here";
}

std::string build_cpp(const std::string& source_file, const std::string& library_file,
                      const std::string& optimisation) {
  const std::string log = library_file + ".log";
  const std::string command =
      fmt::format("{} -std=c++20 {} -ffp-contract=off -fPIC -shared -o {} {} -lm 2>{}", compiler(),
                  optimisation, library_file, source_file, log);
  return std::system(command.c_str()) == 0 ? "" : read_file(log);
}

ProgramResult run_printed_cpp(const Graph& graph, const PrintedCase& given, int* failed_step,
                              const std::string& optimisation) {
  const Binding binding = binding_of(graph, given);
  const TempFolder folder;
  const std::string source = cpp_graph(graph, binding), file = folder.file("graph.cc");
  EXPECT_EQ(source.find("#include"), std::string::npos);
  write_file(file, source);
  const std::string log = build_cpp(file, folder.file("graph.so"), optimisation);
  EXPECT_EQ(log, "") << source;
  void* library = ::dlopen(folder.file("graph.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail_io("{}", ::dlerror());
  using Run = int (*)(const void* const*, void* const*, void* const*, void*);
  using Scratch = unsigned long long (*)();
  const std::string name = identifier_of(graph.name());
  const auto run = reinterpret_cast<Run>(::dlsym(library, name.c_str()));
  const auto scratch = reinterpret_cast<Scratch>(::dlsym(library, (name + "_scratch").c_str()));
  FLOE_CHECK(run != nullptr && scratch != nullptr, "no function '{}' in the printed source", name);

  std::vector<Tensor> state_tensors, output_tensors;
  std::vector<const void*> inputs;
  std::vector<void*> states, outputs;
  for (const NamedValue& input : graph.inputs()) inputs.push_back(given.inputs.at(input.name)->data());
  for (const NamedValue& state : graph.states())
    state_tensors.push_back(copy_of(*given.states.at(state.name)));
  for (const NamedValue& output : graph.outputs())
    output_tensors.push_back(result_for(graph, output.value, binding));
  for (Tensor& tensor : state_tensors) states.push_back(tensor.data());
  for (Tensor& tensor : output_tensors) outputs.push_back(tensor.data());
  Tensor arena = arena_of(scratch());
  const int failed = run(inputs.data(), states.data(), outputs.data(), arena.data());
  ::dlclose(library);
  if (failed_step != nullptr) {
    *failed_step = failed;
  } else {
    EXPECT_EQ(failed, 0) << "a step of '" << name << "' failed";
  }
  ProgramResult result;
  result.arena = arena.bytes();
  for (size_t k = 0; k < output_tensors.size(); ++k)
    result.outputs[graph.outputs()[k].name] = share(std::move(output_tensors[k]));
  for (size_t k = 0; k < state_tensors.size(); ++k)
    result.states[graph.states()[k].name] = share(std::move(state_tensors[k]));
  return result;
}

std::vector<ProgramResult> run_printed_numpy(const Graph& graph, const std::vector<PrintedCase>& given,
                                             std::string* error) {
  const TempFolder folder;
  std::string source = numpy_graph(graph) + "\n\nimport os, sys\n\nos.chdir(sys.argv[1])\n";
  for (size_t k = 0; k < given.size(); ++k) source += driver(graph, given[k], k, folder);
  write_file(folder.file("graph.py"), source);
  const std::string log = folder.file("log");
  const std::string command =
      fmt::format("python3 {} {} >{} 2>&1", folder.file("graph.py"), folder.path(), log);
  const bool ran = std::system(command.c_str()) == 0;
  if (error != nullptr) *error = read_file(log);
  if (!ran) {
    EXPECT_NE(error, nullptr) << read_file(log) << source;
    return {};
  }
  std::vector<ProgramResult> results;
  for (size_t k = 0; k < given.size(); ++k) {
    const Binding binding = binding_of(graph, given[k]);
    ProgramResult result;
    const auto read = [&](const char* kind, const std::vector<NamedValue>& values, TensorMap* tensors) {
      for (size_t i = 0; i < values.size(); ++i) {
        Tensor tensor = result_for(graph, values[i].value, binding);
        read_tensor(folder.file(fmt::format("{}.got_{}{}", k, kind, i)), &tensor);
        (*tensors)[values[i].name] = share(std::move(tensor));
      }
    };
    read("output", graph.outputs(), &result.outputs);
    read("state", graph.states(), &result.states);
    results.push_back(std::move(result));
  }
  return results;
}

void check_printed(const Graph& graph, const PrintedCase& given, const ProgramResult& got, double ulps,
                   const std::string& what) {
  RefMap inputs, states;
  for (const auto& [name, tensor] : given.inputs) inputs[name] = ref_of(*tensor);
  for (const auto& [name, tensor] : given.states) states[name] = ref_of(*tensor);
  const Evaluation want = evaluate(graph, inputs, states);
  for (const auto& [name, value] : want.outputs)
    expect_close(*got.outputs.at(name), value, ulps, what + ", output " + name);
  for (const auto& [name, value] : states) {
    const auto updated = want.updates.find(name);
    expect_close(*got.states.at(name), updated != want.updates.end() ? updated->second : value, ulps,
                 what + ", state " + name);
  }
}

}  // namespace floe
