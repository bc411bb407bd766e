// A command of the program: its options are bound to variables that `run` reads.
#pragma once
#include <functional>
#include <stdexcept>
#include <string>

namespace CLI {
class App;
}

namespace floe {

// The command line itself is wrong; the program ends with kUsageExit.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr int kFailureExit = 1;
constexpr int kUsageExit = 2;

// What a command's options say; returns the exit code.
using Run = std::function<int()>;

// Each adds a command's options to `app`.
Run translate_command(CLI::App& app);
Run score_command(CLI::App& app);
Run evaluate_command(CLI::App& app);
Run inspect_command(CLI::App& app);
Run train_command(CLI::App& app);
Run bench_command(CLI::App& app);
Run profile_command(CLI::App& app);
Run convert_command(CLI::App& app);
Run quantize_command(CLI::App& app);
Run run_command(CLI::App& app);
Run verify_command(CLI::App& app);
Run compile_command(CLI::App& app);
Run version_command(CLI::App& app);

// Throws UsageError when an option without which the command makes no sense was not given.
void require(const std::string& value, const char* option);

// "floe: warning: TEXT" on standard error.
void warn(const std::string& text);

}  // namespace floe
