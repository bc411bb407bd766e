#include "onnx_targets.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/temp_folder_for_test.h"
#include "compile/print_numpy_graph.h"
#include "compile/printable.h"
#include "tensor/npz.h"
#include "testing/program_case.h"

namespace floe {
namespace {

void write_arrays(const std::string& path, const std::vector<NamedValue>& wanted, const NamedTensors& given) {
  if (wanted.empty()) return;
  std::vector<NamedTensor> arrays;
  for (size_t k = 0; k < wanted.size(); ++k)
    arrays.push_back({fmt::format("x{}", k), view_of(*given.at(wanted[k].name))});
  write_npz(path, arrays);
}

std::string names_of(const std::vector<NamedValue>& values) {
  std::string text;
  for (const NamedValue& value : values) text += quote(value.name) + ", ";
  return "(" + text + ")";
}

constexpr const char* kDriver = R"(import sys, traceback
import numpy as np

def _arrays(path, names):
    file = np.load(path) if names else {}
    return {name: file[f"x{k}"] for k, name in enumerate(names)}

def _run(k, function, inputs, states, outputs):
    folder = sys.argv[1]
    try:
        scope = {}
        exec(compile(open(f"{folder}/{k}.py").read(), f"{k}.py", "exec"), scope)
        got, _ = scope[function](_arrays(f"{folder}/{k}.in.npz", inputs), _arrays(f"{folder}/{k}.st.npz", states))
        np.savez(f"{folder}/{k}.out.npz", **{f"x{i}": got[name] for i, name in enumerate(outputs)})
    except Exception:
        open(f"{folder}/{k}.error", "w").write(traceback.format_exc().strip().splitlines()[-1])

)";

}  // namespace

TargetResult run_on_cpu(const OnnxImport& import, const NamedTensors& inputs) {
  TargetResult result;
  try {
    NamedTensors feeds;
    for (const NamedValue& input : import.graph.inputs()) feeds[input.name] = inputs.at(input.name);
    const ProgramResult ran = run_program(import.graph, feeds, import.states);
    for (const NamedValue& output : import.graph.outputs())
      result.outputs.push_back(ran.outputs.at(output.name));
  } catch (const Error& e) {
    result.error = e.what();
  }
  return result;
}

std::vector<TargetResult> run_on_numpy(const std::vector<NumpyJob>& jobs) {
  const TempFolder folder;
  const auto file = [&](size_t k, const char* kind) {
    return fmt::format("{}/{}.{}", folder.path(), k, kind);
  };
  std::vector<TargetResult> results(jobs.size());
  std::string driver = kDriver;
  for (size_t k = 0; k < jobs.size(); ++k) {
    const Graph& graph = jobs[k].import->graph;
    try {
      write_file(file(k, "py"), numpy_graph(graph));
      write_arrays(file(k, "in.npz"), graph.inputs(), *jobs[k].inputs);
      write_arrays(file(k, "st.npz"), graph.states(), jobs[k].import->states);
      driver += fmt::format("_run({}, \"{}\", {}, {}, {})\n", k, identifier_of(graph.name()),
                            names_of(graph.inputs()), names_of(graph.states()), names_of(graph.outputs()));
    } catch (const Error& e) {
      results[k].error = e.what();
    }
  }
  write_file(folder.file("driver.py"), driver);
  const std::string log = folder.file("log");
  const std::string command =
      fmt::format("python3 {} {} >{} 2>&1", folder.file("driver.py"), folder.path(), log);
  const bool ran = std::system(command.c_str()) == 0;
  for (size_t k = 0; k < jobs.size(); ++k) {
    if (!results[k].error.empty()) continue;
    if (!ran || file_exists(file(k, "error"))) {
      results[k].error = ran ? read_file(file(k, "error")) : read_file(log);
      continue;
    }
    const NpzFile got = NpzFile::open(file(k, "out.npz"));
    for (size_t i = 0; i < jobs[k].import->graph.outputs().size(); ++i)
      results[k].outputs.push_back(std::make_shared<Tensor>(got.load(fmt::format("x{}", i))));
  }
  return results;
}

}  // namespace floe
