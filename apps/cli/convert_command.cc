// floe convert: a model's folder, also one of CTranslate2's, as a folder of Floe's with weights of another
// type.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "command.h"
#include "translate/model_file.h"

namespace floe {
namespace {

struct Flags {
  std::string model;
  std::string output;
  std::string store = "f32";
};

int run(const Flags& flags) {
  require(flags.model, "--model");
  require(flags.output, "--output");
  const DType store = parse_dtype(flags.store);
  if (store != DType::f32 && store != DType::bf16 && store != DType::f16) {
    throw UsageError("--store: weights are stored as f32, bf16 or f16, not as " + flags.store);
  }
  if (file_exists(flags.output)) fail_user("{} is there already", flags.output);
  ModelFile model = load_model(flags.model);
  model.weights = dequantized(std::move(model.weights));
  save_model(flags.output, model, store);
  return 0;
}

}  // namespace

Run convert_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("--model", flags->model, "folder of the model, Floe's or CTranslate2's");
  app.add_option("--output", flags->output, "folder to write; it must not be there");
  app.add_option("--store", flags->store, "type of the weights in the file: f32, bf16 or f16");
  return [flags] { return run(*flags); };
}

}  // namespace floe
