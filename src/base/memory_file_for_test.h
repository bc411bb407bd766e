// For tests and fuzzers: bytes as a file in memory, for readers that take a path.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace floe {

class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(::memfd_create("test", MFD_CLOEXEC)) {
    while (size > 0) {
      const ssize_t put = ::write(fd_, data, size);
      if (put <= 0) __builtin_trap();
      data += put;
      size -= static_cast<size_t>(put);
    }
  }
  explicit MemoryFile(std::string_view bytes)
      : MemoryFile(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()) {}
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace floe
