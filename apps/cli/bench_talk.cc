#include "bench_talk.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "bench_process.h"

namespace floe {

Talk::Talk(const std::vector<std::string>& command) : shown_(fmt::format("{}", fmt::join(command, " "))) {
  std::array<int, 2> ends;
  // A socket, not two pipes: to write to one whose process is gone is an error, not a signal.
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    fail_io("cannot run {}: {}", shown_, std::strerror(errno));
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  child_ = ::fork();
  if (child_ == 0) {
    ::dup2(ends[1], STDIN_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  socket_ = ends[0];
  if (child_ < 0) {
    ::close(socket_);
    fail_io("cannot run {}: {}", shown_, std::strerror(errno));
  }
}

Talk::~Talk() {
  ::close(socket_);
  if (child_ > 0) wait();
}

int Talk::wait() {
  int status = 0;
  while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
  }
  child_ = -1;
  return status;
}

void Talk::fail() { fail_io("{} {}", shown_, how_it_ended(wait())); }

nlohmann::ordered_json Talk::ask(const nlohmann::ordered_json& question) {
  const std::string text = question.dump() + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::send(socket_, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail();
    done += static_cast<size_t>(n);
  }
  std::array<char, 4096> part;
  for (;;) {
    for (size_t end; (end = unread_.find('\n')) != std::string::npos;) {
      const std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      auto json = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (json.is_object()) return json;
    }
    const ssize_t n = ::read(socket_, part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail();
    unread_.append(part.data(), static_cast<size_t>(n));
  }
}

}  // namespace floe
