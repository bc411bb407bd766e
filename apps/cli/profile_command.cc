// floe profile train and floe profile translate: time by kernel, linked to op and layer, against the
// roofline.
#include <CLI/CLI.hpp>

#include "command.h"
#include "profile_runs.h"

namespace floe {

Run profile_command(CLI::App& app) {
  const auto add = [&](const char* name, const char* summary, Run (*of)(CLI::App&)) {
    CLI::App* sub = app.add_subcommand(name, summary);
    sub->allow_extras();
    return std::pair<CLI::App*, Run>(sub, of(*sub));
  };
  const auto train = add("train", "updates of a random batch", profile_train);
  const auto translate = add("translate", "translations of a text", profile_translate);
  return [train, translate] {
    if (train.first->parsed()) return train.second();
    if (translate.first->parsed()) return translate.second();
    throw UsageError("profile looks at train or translate: floe profile train, floe profile translate");
  };
}

}  // namespace floe
