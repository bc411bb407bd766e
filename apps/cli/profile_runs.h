// The commands under `floe profile`.
#pragma once
#include "command.h"

namespace floe {

Run profile_train(CLI::App& app);
Run profile_translate(CLI::App& app);

}  // namespace floe
