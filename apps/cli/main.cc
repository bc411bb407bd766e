// The `floe` program. Exit code 0: all was done; 1: something failed; 2: the command line is wrong. Whatever
// fails says why in one line on standard error.
#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <new>

#include "usage.h"

int main(int argc, char** argv) {
  const floe::CommandLine line{{
      {"translate", "translate text, line by line", floe::translate_command},
      {"score", "probability that the model gives to translations", floe::score_command},
      {"evaluate", "BLEU and chrF of translations against references", floe::evaluate_command},
      {"inspect", "a model's graphs, compiled programs and memory", floe::inspect_command},
      {"train", "train a model on parallel text", floe::train_command},
      {"convert", "another type of weights, or a model of CTranslate2 as one of Floe", floe::convert_command},
      {"quantize", "a model whose products are INT8", floe::quantize_command},
      {"bench", "speed and memory, beside what else there is", floe::bench_command},
      {"profile", "time by kernel, op and layer, against the roofline", floe::profile_command},
      {"run", "an ONNX model on arrays", floe::run_command},
      {"verify", "an ONNX model on every target, against the reference", floe::verify_command},
      {"compile", "an ONNX model through the passes, and as source", floe::compile_command},
      {"version", "what this program is", floe::version_command},
  }};
  try {
    return floe::run_command_line(line, argc, argv);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "floe: there is not enough memory\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "floe: {}\n", error.what());
  }
  return floe::kFailureExit;
}
