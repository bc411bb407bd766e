#include "usage.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <numeric>

#include "command.h"

namespace floe {
namespace {

size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j + 1] + 1, row[j] + 1, replaced});
    }
  }
  return row.back();
}

std::string with_hint(const std::string& text, const std::string& hint) {
  return hint.empty() ? text : text + "; did you mean " + hint + "?";
}

[[noreturn]] void refuse_leftover(const CLI::App& command, const std::vector<std::string>& leftover) {
  const auto option =
      std::find_if(leftover.begin(), leftover.end(), [](const std::string& s) { return s.starts_with("-"); });
  if (option == leftover.end())
    throw UsageError(fmt::format("{} takes no argument '{}'", command.get_name(), leftover.front()));
  std::vector<std::string> names;
  for (const CLI::Option* known : command.get_options()) {
    for (const std::string& name : known->get_lnames()) names.push_back("--" + name);
  }
  const std::string word = option->substr(0, option->find('='));
  throw UsageError(
      with_hint(fmt::format("{} has no option {}", command.get_name(), word), nearest(word, names)));
}

// The command that was asked for; null when help was asked for and printed.
const CLI::App* parse(CLI::App& app, const CommandLine& line, int argc, const char* const* argv) {
  std::vector<std::string> names;
  for (const auto& command : line.commands) names.emplace_back(command.name);
  if (argc > 1 && argv[1][0] != '-' && std::find(names.begin(), names.end(), argv[1]) == names.end())
    throw UsageError(with_hint(fmt::format("there is no command '{}'", argv[1]), nearest(argv[1], names)));
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    app.exit(help);
    return nullptr;
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
  if (app.get_subcommands().empty()) {
    const auto leftover = app.remaining(true);
    if (!leftover.empty()) refuse_leftover(app, leftover);
    throw UsageError("which command? 'floe --help' lists them");
  }
  const CLI::App* chosen = app.get_subcommands().front();
  const CLI::App* innermost = chosen;
  while (!innermost->get_subcommands().empty()) innermost = innermost->get_subcommands().front();
  const auto leftover = app.remaining(true);
  if (!leftover.empty()) refuse_leftover(*innermost, leftover);
  return chosen;
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t fewest = word.size() / 3 + 2;  // further words have nothing in common with this one
  for (const std::string& candidate : candidates) {
    const size_t n = edits(word, candidate);
    if (n < fewest) {
      fewest = n;
      best = candidate;
    }
  }
  return best;
}

void require(const std::string& value, const char* option) {
  if (value.empty()) throw UsageError(fmt::format("{} is missing", option));
}

void warn(const std::string& text) { fmt::print(stderr, "floe: warning: {}\n", text); }

int run_command_line(const CommandLine& line, int argc, const char* const* argv) {
  try {
    CLI::App app{"Floe trains Transformer translation models and translates with them.", "floe"};
    std::vector<std::pair<const CLI::App*, Run>> runs;
    app.set_version_flag("--version", fmt::format("floe {}", FLOE_VERSION));
    for (const auto& command : line.commands) {
      CLI::App* sub = app.add_subcommand(command.name, command.summary);
      runs.emplace_back(sub, command.add(*sub));
      // Collected, to be refused with a hint, before anything else is said about the line.
      sub->allow_extras();
    }
    app.allow_extras();
    const CLI::App* chosen = parse(app, line, argc, argv);
    if (chosen == nullptr) return 0;
    for (const auto& [command, run] : runs) {
      if (command == chosen) return run();
    }
    return kUsageExit;
  } catch (const UsageError& error) {
    fmt::print(stderr, "floe: {}\n", error.what());
    return kUsageExit;
  }
}

}  // namespace floe
