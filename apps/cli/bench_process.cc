#include "bench_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>

#include "base/error.h"

namespace floe {
namespace {

std::string read_all(int fd) {
  std::string text;
  std::array<char, 4096> part;
  for (;;) {
    const ssize_t n = ::read(fd, part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(part.data(), static_cast<size_t>(n));
  }
}

std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const size_t at = text.rfind('\n');
  return at == std::string::npos ? text : text.substr(at + 1);
}

}  // namespace

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return fmt::format("was ended by signal {}", WTERMSIG(status));
  if (WEXITSTATUS(status) == 127) return "cannot be started";
  return fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

nlohmann::ordered_json run_for_json(const std::vector<std::string>& command) {
  const std::string shown = fmt::format("{}", fmt::join(command, " "));
  std::array<int, 2> ends;
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_io("cannot run {}: {}", shown, std::strerror(errno));
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    fail_io("cannot run {}: {}", shown, std::strerror(errno));
  }
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  const std::string text = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_io("{} {}", shown, how_it_ended(status));
  const auto json = nlohmann::ordered_json::parse(last_line(text), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) fail_io("{} printed no JSON object in its last line", shown);
  return json;
}

std::string own_program() {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) fail_io("cannot read /proc/self/exe: {}", error.message());
  return path.string();
}

int64_t peak_resident_bytes() {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/proc/self/status", "r"), &std::fclose);
  if (!file) fail_io("cannot read /proc/self/status: {}", std::strerror(errno));
  std::array<char, 256> line;
  while (std::fgets(line.data(), line.size(), file.get()) != nullptr) {
    if (std::strncmp(line.data(), "VmHWM:", 6) == 0) return std::strtoll(line.data() + 6, nullptr, 10) * 1024;
  }
  fail_io("/proc/self/status does not say VmHWM");
}

double cpu_seconds() {
  timespec now;
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> values) {
  FLOE_CHECK(!values.empty(), "the median of nothing");
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace floe
