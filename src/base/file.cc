#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace floe {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

void sync_path(const std::string& path, int flags) {
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags)};
  if (file.fd < 0 || ::fsync(file.fd) != 0) fail_io("cannot flush {}: {}", path, std::strerror(errno));
}

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
  FileWriter file(path);
  file.write(text.data(), text.size());
  file.commit();
}

FileWriter::FileWriter(std::string path) : path_(std::move(path)), temporary_(temporary_name(path_)) {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_io("cannot write {}: {}", path_, std::strerror(errno));
}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void FileWriter::write(const void* data, size_t bytes) {
  FLOE_CHECK(fd_ >= 0, "{} is written after its commit", path_);
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t put = ::write(fd_, at, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_io("cannot write {}: {}", path_, std::strerror(errno));
    at += put;
    bytes -= static_cast<size_t>(put);
  }
}

void FileWriter::commit() {
  FLOE_CHECK(fd_ >= 0, "{} is committed twice", path_);
  if (::fsync(fd_) != 0) fail_io("cannot write {}: {}", path_, std::strerror(errno));
  // Some file systems tell of a full disk only here.
  if (::close(std::exchange(fd_, -1)) != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    fail_io("cannot write {}: {}", path_, std::strerror(error));
  }
  sync_folder(folder_of(path_));
}

bool file_exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

std::string temporary_name(const std::string& path) {
  static std::atomic<uint64_t> calls{0};
  return fmt::format("{}.tmp{}-{}", path, ::getpid(), calls.fetch_add(1));
}

void sync_folder(const std::string& folder) { sync_path(folder, O_DIRECTORY); }
void sync_file(const std::string& path) { sync_path(path, 0); }

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace floe
