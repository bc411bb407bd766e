// floe version: of the program and of the model format that it writes.
#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include "command.h"
#include "translate/model_file.h"

namespace floe {

Run version_command(CLI::App&) {
  return [] {
    fmt::print("floe {}\nmodel format {}\n", FLOE_VERSION, kModelFormatVersion);
    return 0;
  };
}

}  // namespace floe
