// floe verify: every target that runs here against the reference evaluator in double.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "command.h"
#include "compile/printable.h"
#include "ir/evaluate.h"
#include "model_run.h"
#include "ops/all.h"
#include "threads.h"

namespace floe {
namespace {

struct Flags {
  std::string model, input;
  std::vector<std::string> sizes;
  double tolerance = 1e-3;
  int threads = 0;
};

struct Errors {
  double absolute = 0,
         relative = 0;    // the latter against the larger of the value and the output's root mean square
  int64_t different = 0;  // integers, NaN or infinities where others are wanted
};

Errors errors_of(const Tensor& got, const RefTensor& want) {
  Errors errors;
  if (got.dtype() != want.dtype || got.shape() != want.shape)
    fail_user("gives {}{} instead of {}{}", name_of(got.dtype()), text_of(got.shape()), name_of(want.dtype),
              text_of(want.shape));
  double squares = 0;
  for (const double x : want.f) squares += std::isfinite(x) ? x * x : 0;
  const double rms = want.f.empty() ? 0 : std::sqrt(squares / static_cast<double>(want.f.size()));
  for (int64_t i = 0; i < got.size(); ++i) {
    const double a = got.at(i), b = want.number(i);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!is_float(want.dtype) || !std::isfinite(a) || !std::isfinite(b)) {
      ++errors.different;
      continue;
    }
    errors.absolute = std::max(errors.absolute, std::fabs(a - b));
    errors.relative = std::max(errors.relative, std::fabs(a - b) / std::max({std::fabs(b), rms, 1e-30}));
  }
  return errors;
}

NamedTensors run_numpy(const OnnxImport& import, const NamedTensors& inputs) {
  namespace fs = std::filesystem;
  const std::string folder = temporary_name((fs::temp_directory_path() / "floe_verify").string());
  fs::create_directories(folder);
  const auto file = [&](const char* name) { return folder + "/" + name; };
  struct Remove {
    const std::string& folder;
    ~Remove() {
      std::error_code error;
      fs::remove_all(folder, error);
    }
  } remove{folder};
  write_numpy(import, folder);
  NamedTensors fed;
  for (const NamedValue& input : import.graph.inputs()) fed[input.name] = inputs.at(input.name);
  write_arrays(file("in.npz"), fed);
  const std::string command = fmt::format("python3 '{0}/{1}.py' '{0}/in.npz' '{0}/out.npz' >'{0}/log' 2>&1",
                                          folder, identifier_of(import.graph.name()));
  if (std::system(command.c_str()) != 0) fail_user("python3: {}", read_file(file("log")));
  return read_arrays(file("out.npz"));
}

int run(const Flags& flags) {
  require(flags.model, "MODEL");
  const auto model = read_onnx(flags.model);
  const NamedTensors inputs =
      flags.input.empty() ? made_up_inputs(*model, flags.sizes) : read_arrays(flags.input);
  const OnnxImport import = import_onnx_for(*model, all_ops(), inputs);
  RefMap fed, states;
  for (const auto& [name, tensor] : inputs) fed[name] = ref_of(*tensor);
  for (const auto& [name, tensor] : import.states) states[name] = ref_of(*tensor);
  const Evaluation want = evaluate(import.graph, fed, states);

  bool good = true;
  const auto check = [&](const std::string& target, const std::function<NamedTensors()>& run_target) {
    try {
      const NamedTensors got = run_target();
      for (const NamedValue& output : import.graph.outputs()) {
        const Errors errors = errors_of(*got.at(output.name), want.outputs.at(output.name));
        const bool fits = errors.relative <= flags.tolerance && errors.different == 0;
        good = good && fits;
        fmt::print("{:6} {:24} {}  worst error {:.3g}, relative {:.3g}{}\n", target, output.name,
                   fits ? "ok" : "BAD", errors.absolute, errors.relative,
                   errors.different > 0 ? fmt::format(", {} different", errors.different) : "");
      }
    } catch (const Error& e) {
      good = false;
      fmt::print("{:6} failed: {}\n", target, e.what());
    }
  };
  for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::cuda}) {
    std::unique_ptr<Device> device;
    try {
      device = open_device(kind, thread_count(flags.threads));
    } catch (const Error& e) {
      fmt::print("{:6} not here: {}\n", name_of(kind), e.what());
      continue;
    }
    check(std::string(name_of(kind)), [&] { return run_model(import, inputs, *device); });
  }
  if (std::system("python3 -c 'import numpy' >/dev/null 2>&1") != 0) {
    fmt::print("numpy  not here: python3 cannot import numpy\n");
  } else {
    check("numpy", [&] { return run_numpy(import, inputs); });
  }
  return good ? 0 : kFailureExit;
}

}  // namespace

Run verify_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("MODEL", flags->model, "an .onnx file");
  app.add_option("--input", flags->input, "an .npz with an array for each input; made up unless given");
  app.add_option("--sizes", flags->sizes, "sizes of made up inputs: batch=2 sequence=16 ...; 2 unless given");
  app.add_option("--tolerance", flags->tolerance,
                 "largest error, against the larger of a value and its output's root mean square (0.001)");
  app.add_option("--threads", flags->threads, "processor threads; all of them unless given");
  return [flags] { return run(*flags); };
}

}  // namespace floe
