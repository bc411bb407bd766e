// floe train: options from a TOML file and flags, in this order; both come from the rows of train/options.h.
// Exit code 0: the run has ended, had ended before, or was asked to stop (SIGTERM, SIGINT, SIGHUP) and has
// left a checkpoint to go on from.
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <map>
#include <memory>

#include "base/file.h"
#include "command.h"
#include "train/trainer.h"

namespace floe {
namespace {

std::atomic<bool> stop_asked{false};
void ask_to_stop(int) { stop_asked.store(true); }

// A signal that the caller had ignored (nohup, a job in the background) stays ignored.
void catch_stop(int signal) {
  struct sigaction action{};
  sigaction(signal, nullptr, &action);
  if (action.sa_handler == SIG_IGN) return;
  action = {};
  action.sa_handler = ask_to_stop;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second one ends the program at once
  sigaction(signal, &action, nullptr);
}

int columns_of_terminal() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Run train_command(CLI::App& app) {
  struct Given {
    std::string config;
    std::map<std::string, std::vector<std::string>> flags;  // by row
    bool print = false;
  };
  auto given = std::make_shared<Given>();
  app.add_option("--config", given->config, "TOML file with options; flags win over it");
  app.add_flag("--print-options", given->print, "print every option as TOML and end");
  for (const OptionRow& row : train_option_rows()) {
    std::string flag = "--" + std::string(row.name);
    for (char& c : flag) c = c == '_' ? '-' : c;
    app.add_option(flag, given->flags[std::string(row.name)], std::string(row.doc))
        ->group(std::string(row.section));
  }
  return [given] {
    TrainOptions options;
    if (!given->config.empty()) read_options(read_file(given->config), given->config, &options);
    for (const auto& [name, words] : given->flags) {
      if (!words.empty()) set_option(*find_option(name), words, &options);
    }
    if (given->print) {
      std::fputs(toml_of(options).c_str(), stdout);
      return 0;
    }
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) catch_stop(signal);
    // A write that cannot be done is an error that says so: a file above its limit, progress that nobody
    // reads.
    ::signal(SIGXFSZ, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    TrainSink sink;
    sink.write = [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stderr);
      std::fflush(stderr);
    };
    sink.progress.terminal = isatty(STDERR_FILENO) != 0;
    sink.progress.columns = columns_of_terminal();
    sink.stop = &stop_asked;
    train(options, sink);
    return 0;
  };
}

}  // namespace floe
