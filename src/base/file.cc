#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"

namespace floe {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

std::string read_file(const std::string& path) {
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) fail_io("cannot open {}: {}", path, std::strerror(errno));
  struct stat info{};
  if (::fstat(file.fd, &info) != 0) fail_io("cannot read {}: {}", path, std::strerror(errno));
  if (S_ISDIR(info.st_mode)) fail_io("cannot read {}: it is a folder", path);
  std::string text;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(file.fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_io("cannot read {}: {}", path, std::strerror(errno));
    if (got == 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}

void write_file(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".tmp" + std::to_string(::getpid());
  int error = 0;
  {
    Descriptor file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
    if (file.fd < 0) fail_io("cannot write {}: {}", path, std::strerror(errno));
    while (!text.empty() && error == 0) {
      const ssize_t put = ::write(file.fd, text.data(), text.size());
      if (put < 0 && errno != EINTR) error = errno;
      if (put > 0) text.remove_prefix(static_cast<size_t>(put));
    }
    if (error == 0 && ::fsync(file.fd) != 0) error = errno;
  }
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(temporary.c_str());
    fail_io("cannot write {}: {}", path, std::strerror(error));
  }
}

bool file_exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

}  // namespace floe
