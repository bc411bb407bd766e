// The command line as a whole: which command, what it was given, and a helpful word for what does not exist.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "command.h"

namespace floe {

struct CommandLine {
  struct Entry {
    const char* name;
    const char* summary;
    Run (*add)(CLI::App&);
  };
  std::vector<Entry> commands;
};

// Parses and runs. Returns the exit code; what is wrong with the command line is printed in one line.
int run_command_line(const CommandLine& line, int argc, const char* const* argv);

// The candidate with the fewest edits to `word`, if that is few for its length; else empty.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace floe
